import Dispatch
import Foundation
import GGUF
import HuggingFace
import Models
import Support
import Synchronization
import TensorCore
import TestSupport
import Testing

@testable import Exports

/// The folder that stands for a GGUF file where a model is meant.
@Suite struct GGUFFolderTests {
    @Test func `a GGUF file stands for the folder made of it, once for the same bytes, also by way of a link`() throws {
        let model = try ExportedModel()
        let path = model.file("a.gguf")
        try model.export("gguf-f32", to: "a.gguf")
        #expect(try GGUFImport.folder(of: path) == path + ".folder")
        #expect(try model.logits("a.gguf.folder").elements == model.logits("model").elements)
        let config = path + ".folder/config.json"
        let made = try FileManager.default.attributesOfItem(atPath: config)[.systemFileNumber] as? Int
        _ = try GGUFImport.folder(of: path)
        #expect(try FileManager.default.attributesOfItem(atPath: config)[.systemFileNumber] as? Int == made)
        try model.export("gguf-f32", to: "again.gguf", from: "a.gguf.folder")
        #expect(try GGUFFile(model.file("again.gguf"))["general.name"] == .string("a"))
        try FileManager.default.createSymbolicLink(atPath: model.file("b.gguf"), withDestinationPath: "a.gguf")
        #expect(try GGUFImport.folder(of: model.file("b.gguf")) == model.file("b.gguf.folder"))
        for folder in ["model", "absent"] { #expect(try GGUFImport.folder(of: model.file(folder)) == model.file(folder)) }
    }

    @Test func `what several make of one file at once is one folder, of the bytes that the file has now`() throws {
        let model = try ExportedModel()
        let path = model.file("a.gguf")
        // Of nothing, and in the place of what the file was before.
        for (round, name) in ["gguf-f32", "gguf-f16"].enumerated() {
            try model.export(name, to: "a.gguf", overwrites: true)
            let results = Mutex([String]())
            DispatchQueue.concurrentPerform(iterations: 4) { _ in
                let result = Result { try GGUFImport.folder(of: path) }
                results.withLock { $0.append((try? result.get()) ?? "\(result)") }
            }
            #expect(results.withLock { $0 } == Array(repeating: path + ".folder", count: 4))
            #expect(try entries(ofFolder: model.folder.path) == ["a.gguf", "a.gguf.folder", "model"])
            let checkpoint = try Checkpoint(path + ".folder")
            let metadata = try checkpoint.file(of: checkpoint.names[0]).metadata
            #expect(try metadata["source_sha256"] == InputFile(path).sha256(), "round \(round)")
        }
    }

    @Test func `a folder that others put in another's place while it is looked at is what they put there`() throws {
        let model = try ExportedModel()
        let path = model.file("a.gguf")
        try model.export("gguf-f32", to: "a.gguf")
        let folder = try GGUFImport.folder(of: path)
        let (other, old, source) = (model.file("other"), model.file("old"), model.file("source"))
        for copy in [other, source] { try FileManager.default.copyItem(atPath: folder, toPath: copy) }
        let digest = try InputFile(path).sha256()
        let isDone = Mutex(false)
        let failures = Mutex([String]())
        let found = Mutex(0)
        DispatchQueue.concurrentPerform(iterations: 2) { thread in
            guard thread == 0 else {
                while !isDone.withLock({ $0 }) {
                    // As an import does that puts its own in the folder's place.
                    rename(folder, old)
                    rename(other, folder)
                    try? removeTree(old)
                    try? FileManager.default.copyItem(atPath: source, toPath: other)
                    // Away and back again.
                    rename(folder, old)
                    rename(old, folder)
                }
                return
            }
            for _ in 0..<5000 {
                do {
                    if try GGUFImport.isMade(folder, of: path, digest) { found.withLock { $0 += 1 } }
                } catch {
                    failures.withLock { $0.append("\(error)") }
                }
            }
            isDone.withLock { $0 = true }
        }
        #expect(failures.withLock { $0 } == [])
        #expect(found.withLock { $0 } > 0)
    }

    @Test func `what a killed import has left goes with the next one, and what a living one is making stays`() throws {
        let model = try ExportedModel()
        let path = model.file("a.gguf")
        try model.export("gguf-f32", to: "a.gguf")
        let living = try HFFolderWriter(path + ".folder", besideOthers: true)
        try living.write("{}", as: "config.json")
        // Killed later, and before the lock was made; and what no import has made.
        for name in ["a.gguf.folder.tmp-killed", "a.gguf.folder.tmp-empty", "a.gguf.folder.old-1", "b.gguf.folder.tmp-other"] {
            try makeFolder(model.file(name))
        }
        try makeFolder(model.file("a.gguf.folder.old-mine"))
        for name in ["tmp-killed/config.json", "tmp-killed/.writing", "old-mine/config.json"] {
            try AtomicFile.write("{}", to: model.file("a.gguf.folder." + name))
        }
        _ = try GGUFImport.folder(of: path)
        let name = living.temporaryPath.split(separator: "/").last.map(String.init) ?? ""
        let kept = ["a.gguf", "a.gguf.folder", "a.gguf.folder.old-mine", name, "b.gguf.folder.tmp-other", "model"]
        #expect(try entries(ofFolder: model.folder.path) == kept)
        #expect(try entries(ofFolder: living.temporaryPath).contains("config.json"))
        #expect(try !entries(ofFolder: path + ".folder").contains { $0.hasPrefix(".") })
        // Its writer ends as if killed: the lock goes, the folder stays.
        withExtendedLifetime(living) {}
    }

    @Test func `what is no folder of the file stays, and nothing is left of a file that cannot be read`() throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write("mine", to: folder.file("b.gguf.folder"))
        for name in ["b.gguf", "c.gguf"] { try AtomicFile.write("GGUF", to: folder.file(name)) }
        #expect(throws: ExportError.self) { try GGUFImport.folder(of: folder.file("b.gguf")) }
        #expect(throws: FileError.self) { try GGUFImport.folder(of: folder.file("c.gguf")) }
        #expect(try entries(ofFolder: folder.path) == ["b.gguf", "b.gguf.folder", "c.gguf"])
    }

    /// A name with room for the file alone: nobody, not even root, can make its folder.
    @Test func `where nothing can be made beside the file, the error says what to do`() throws {
        let model = try ExportedModel()
        let path = model.file(String(repeating: "x", count: 245) + ".gguf")
        try model.export("gguf-f32", to: "a.gguf")
        try #require(rename(model.file("a.gguf"), path) == 0)
        #expect {
            try GGUFImport.folder(of: path)
        } throws: {
            let error = $0 as? FileError
            return error?.exitCode == .io && error?.place == path
                && error?.description.contains("make one elsewhere with sq-train import --out FOLDER") == true
        }
        // What needs no folder goes without.
        let read = try #require(try GGUFImport.parameters(of: path))
        for (own, other) in zip(read.named, try ModelFolder(model.file("model")).parameters().named) {
            #expect(own.name == other.name && own.value.elements == other.value.elements, "\(own.name)")
        }
    }
}
