import Foundation
import HuggingFace
import Parallelism
import Support
import TensorCore
import TestSupport
import Testing

@testable import Runs

@Suite struct CheckpointFolderTests {
    private let temporary: TemporaryFolder
    private let folder: CheckpointFolder

    init() throws {
        temporary = try TemporaryFolder()
        folder = CheckpointFolder(path: temporary.file("checkpoints"))
    }

    private func commit(_ step: Int, keep: Int = 2, ranks: Int = 1, settings: [String: String] = ["training.seed": "7"]) throws
    {
        try folder.begin(step)
        var state = TrainingState()
        state.tensors["a"] = Tensor([1, .nan, -0.0], [3])
        state.numbers["third"] = 1 / 3
        var files: [String: CheckpointManifest.File] = [:]
        for file in (0..<ranks).map(CheckpointFolder.stateFile) {
            let entry = try state.write(to: "\(folder.temporary(step))/\(file)")
            let written = try InputFile("\(folder.temporary(step))/\(file)")
            #expect(try entry == CheckpointManifest.File(bytes: written.size, sha256: written.sha256()))
            files[file] = entry
        }
        let identity = CheckpointManifest.Identity(job: "rotate", worldSize: ranks, model: "m", settings: settings)
        let record = StepRecord(firstLoss: 2.5, lastLoss: 0.1, timedSteps: step, timedSeconds: 1e-9)
        try folder.commit(CheckpointManifest(identity: identity, step: step, files: files, record: record), keep: keep)
    }

    @Test func `what was written is read, numbers to the bit`() throws {
        try commit(4)
        let manifest = try CheckpointFolder.verified(folder.checkpoint(4))
        #expect(manifest.step == 4 && manifest.record.lastLoss == 0.1 && manifest.identity.settings == ["training.seed": "7"])
        let state = TrainingState(
            SavedFiles(["\(folder.checkpoint(4))/\(CheckpointFolder.stateFile(rank: 0))"], isOfOtherLayout: false))
        #expect(try state.number("third") == 1.0 / 3 && state.optionalNumber("half") == nil)
        #expect(try state.tensor("a", [3]).elements.map(\.bitPattern) == [Float(1), .nan, -0.0].map(\.bitPattern))
    }

    @Test func `a checkpoint names the program in each file, and one of before it did is read`() throws {
        try commit(4)
        let manifest = "\(folder.checkpoint(4))/\(CheckpointManifest.fileName)"
        let state = "\(folder.checkpoint(4))/\(CheckpointFolder.stateFile(rank: 0))"
        #expect(try InputFile.json(manifest)["program"]?.string == ProgramVersion.name)
        #expect(try SafetensorsFile(state).metadata["program"] == ProgramVersion.name)
        // As version 1.0.0 wrote it at first: without the name, and with the digest of the other members.
        var content = try #require(try InputFile.json(manifest).object)
        (content["program"], content["sha256"]) = (nil, nil)
        content["sha256"] = .string(sha256(of: Array(JSONValue.object(content).text(.compact, sortedKeys: true).utf8)))
        try AtomicFile.write(CheckpointManifest.text(content), to: manifest)
        #expect(try CheckpointFolder.verified(folder.checkpoint(4)).step == 4)
    }

    @Test(arguments: [CheckpointManifest.fileName, CheckpointFolder.stateFile(rank: 0)])
    func `no changed bit and no cut goes unnoticed`(_ name: String) throws {
        try commit(4)
        let path = "\(folder.checkpoint(4))/\(name)"
        let whole = try InputFile.contents(of: path, limit: 1 << 20)
        for place in whole.indices {
            var bytes = whole
            bytes[place] ^= 1 << UInt8(place % 8)
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            #expect(throws: (any Error).self, "bit \(place % 8) of byte \(place)") {
                try CheckpointFolder.verified(folder.checkpoint(4))
            }
            try Data(whole[..<place]).write(to: URL(fileURLWithPath: path))
            // The line break at the end of the manifest means nothing.
            guard place < whole.count - 1 else { continue }
            #expect(throws: (any Error).self, "cut at byte \(place)") { try CheckpointFolder.verified(folder.checkpoint(4)) }
        }
    }

    /// Its digest finds what is damaged; where that is right, too, what is read is of the kinds that it should be.
    @Test func `damaged manifests are refused, and read or refused where their digest is right`() throws {
        try commit(4, ranks: 2)
        let valid = try InputFile.contents(
            of: "\(folder.checkpoint(4))/\(CheckpointManifest.fileName)", limit: 1 << 20)
        let place = temporary.file("mutant")
        let plain = Mutations(seed: 91)
        let refused = try plain.refusals(of: valid, at: place) { path in
            let read = try CheckpointManifest(contentsOf: path)
            // A change may leave the bytes as they were.
            #expect(try InputFile.contents(of: path, limit: 1 << 20) == valid, "\(read)")
        }
        #expect(refused > plain.count * 9 / 10)

        let sealed = Mutations(seed: 92)
        var read = 0
        _ = try sealed.refusals(of: valid, at: place) { path in
            guard var content = try InputFile.json(path).object else {
                throw CheckpointError.damaged(path, "is no object")
            }
            content["sha256"] = nil
            content["sha256"] = .string(sha256(of: Array(JSONValue.object(content).text(.compact, sortedKeys: true).utf8)))
            try AtomicFile.write(CheckpointManifest.text(content), to: path)
            let manifest = try CheckpointManifest(contentsOf: path)
            read += 1
            #expect(manifest.step > 0 && manifest.files.keys.allSatisfy { !$0.contains("/") })
            _ = (manifest.identity.layout, manifest.identity.arrangement)
        }
        #expect(read > sealed.count / 20, "\(read)")
    }

    @Test func `a run is divided as its newest checkpoint that can be read`() throws {
        let run = temporary.path
        #expect(ResumePolicy.auto.layout(runFolder: run) == nil)
        for (step, stages) in [(1, 4), (2, 2), (3, 8)] {
            try commit(
                step, keep: 3, settings: CheckpointManifest.Identity.setting(of: ParallelDims(data: 3, pipeline: stages)))
        }
        #expect(ResumePolicy.auto.layout(runFolder: run) == ParallelDims(data: 3, pipeline: 8))
        try Data("{}".utf8).write(to: URL(fileURLWithPath: "\(folder.checkpoint(3))/\(CheckpointManifest.fileName)"))
        #expect(ResumePolicy.auto.layout(runFolder: run) == ParallelDims(data: 3, pipeline: 2))
        #expect(ResumePolicy.never.layout(runFolder: run) == nil)
        #expect(ResumePolicy.from(folder.checkpoint(1)).layout(runFolder: "elsewhere") == ParallelDims(data: 3, pipeline: 4))
        #expect(ResumePolicy.from("nowhere").layout(runFolder: run) == nil)
        // Without a layout, and with one that is none.
        try commit(4)
        #expect(ResumePolicy.auto.layout(runFolder: run) == nil)
        try commit(5, settings: ["layout": "0 × 2"])
        #expect(ResumePolicy.auto.layout(runFolder: run) == nil)
    }

    /// As a manifest may say with a digest that is right.
    @Test(arguments: [
        ["world_size": -1], ["world_size": 0], ["world_size": .max], ["timed_steps": .max], ["timed_steps": -1], ["step": 3],
        ["step": 9], ["timed_steps": 5],
    ]) func `a manifest of what cannot be is damaged`(_ changes: [String: Int]) throws {
        try commit(4, settings: ["training.steps": "8"])
        let path = "\(folder.checkpoint(4))/\(CheckpointManifest.fileName)"
        var content = try #require(try InputFile.json(path).object)
        for (key, value) in changes { content[key] = .integer(value) }
        content["sha256"] = nil
        content["sha256"] = .string(sha256(of: Array(JSONValue.object(content).text(.compact, sortedKeys: true).utf8)))
        try AtomicFile.write(CheckpointManifest.text(content), to: path)
        let error = #expect(throws: CheckpointError.self) { try CheckpointFolder.verified(folder.checkpoint(4)) }
        #expect(error?.exitCode == .data, "\(error?.description ?? "")")
    }

    @Test func `a checkpoint that its owner has given another name is read`() throws {
        try commit(4)
        try renameDurably(folder.checkpoint(4), to: temporary.file("step-4 of Monday"))
        #expect(try CheckpointFolder.verified(temporary.file("step-4 of Monday")).step == 4)
    }

    /// Twelve files: ranks of two digits, too, check their own where there are as many.
    @Test(arguments: [1, 3, 5, 12, 20]) func `ranks share the checking, and none of the files goes unchecked`(_ ranks: Int)
        throws
    {
        try commit(4, ranks: 12)
        func check(_ rank: Int) throws { _ = try CheckpointFolder.verified(folder.checkpoint(4), rank: rank, of: ranks) }
        for rank in 0..<ranks { try check(rank) }
        for file in 0..<12 {
            let path = "\(folder.checkpoint(4))/\(CheckpointFolder.stateFile(rank: file))"
            let whole = try InputFile.contents(of: path, limit: 1 << 20)
            try Data(whole.dropLast()).write(to: URL(fileURLWithPath: path))
            for rank in 0..<ranks where rank != file % ranks { try check(rank) }
            #expect(throws: CheckpointError.self, "file \(file) of 12") { try check(file % ranks) }
            try Data(whole).write(to: URL(fileURLWithPath: path))
        }
    }

    @Test func `the newest are kept, and of a later step none, which is damaged or of an attempt given up`() throws {
        for step in [2, 4, 6] { try commit(step) }
        #expect(try folder.steps() == [6, 4])
        try commit(3)
        #expect(try folder.steps() == [3])
        try commit(5)
        #expect(try folder.steps() == [5, 3])
        try commit(5)
        #expect(try folder.steps() == [5, 3])
        let latest = String(decoding: try InputFile.contents(of: "\(folder.path)/LATEST", limit: 100), as: UTF8.self)
        #expect(latest == "step-5\n")
    }

    @Test func `what interrupted writes have left is removed by the next`() throws {
        try folder.begin(7)
        try AtomicFile.write("half", to: "\(folder.path)/LATEST.tmp-abc")
        try commit(8)
        #expect(try entries(ofFolder: folder.path) == ["LATEST", "step-8"])
    }
}
