import EmbeddedModel
import Exports
import Foundation
import HuggingFace
import Models
import Support
import TensorCore
import TestSupport
import Testing

@testable import Configuration

@Suite struct GivenPathTests {
    /// A run's folder, with what a job leaves there.
    private func run(_ folder: TemporaryFolder, _ files: String...) throws {
        for name in ["model", "run/model"] {
            try FileManager.default.createDirectory(atPath: folder.file(name), withIntermediateDirectories: true)
        }
        for file in files { try AtomicFile.write("{}", to: folder.file(file)) }
    }

    @Test func `a run's folder stands for the model, the rotations and the factors in it`() throws {
        let folder = try TemporaryFolder()
        try run(folder, "run/model/config.json", "run/rotations.safetensors", "run/ternary.safetensors")
        let path = folder.file("run")
        let config = try RunConfig(assignments: ["model", "rotation", "ternary"].map { "\($0).path=\(path)" })
            .resolvingRunFolders()
        #expect(config.model.path == "\(path)/model")
        #expect(config.rotation.path == "\(path)/rotations.safetensors")
        #expect(config.ternary.path == "\(path)/ternary.safetensors")
        #expect(try config.resolvingRunFolders() == config)
    }

    @Test func `what is no run's folder stays as it is given`() throws {
        let folder = try TemporaryFolder()
        try run(folder, "model/config.json", "R.bin")
        for path in [folder.file("model"), folder.file("absent"), "absent", "./a/b", "../a", "a/b/c", "a/"] {
            #expect(try GivenPath.model(path) == path)
        }
        for path in [folder.file("R.bin"), folder.path, "absent"] {
            #expect(GivenPath.file(path, inRun: "rotations.safetensors") == path)
        }
    }

    @Test func `the name of a model elsewhere is refused with how to get it`() {
        do {
            _ = try GivenPath.model("meta-llama/Llama-3.2-1B")
            Issue.record("accepted")
        } catch {
            let error = error as? FileError
            #expect(error?.exitCode == .noInput)
            #expect(
                error?.description.contains("huggingface-cli download meta-llama/Llama-3.2-1B --local-dir Llama-3.2-1B") == true
            )
        }
    }

    @Test func `a GGUF file stands for the folder made of it, once`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.gguf")
        func export(_ format: String) throws {
            let request = ExportRequest(source: EmbeddedModel.path, out: path, overwrites: true)
            _ = try ModelWriters.named(format).write(request)
        }
        try export("gguf-bf16")
        let resolved = try RunConfig(assignments: ["model.path=\(path)"]).resolvingRunFolders().model.path
        #expect(resolved == path + ".folder")
        let (made, source) = (try ModelFolder(path + ".folder"), try ModelFolder(EmbeddedModel.path))
        for (name, value) in try made.parameters().named {
            #expect(try value.elements == source.checkpoint.read(name).elements, "\(name)")
        }
        try AtomicFile.write("mine", to: folder.file("b.gguf.folder"))
        try AtomicFile.write("GGUF", to: folder.file("b.gguf"))
        #expect(throws: ExportError.self) { try GivenPath.model(folder.file("b.gguf")) }
        try AtomicFile.write("GGUF", to: folder.file("c.gguf"))
        #expect(throws: FileError.self) { try GivenPath.model(folder.file("c.gguf")) }
        #expect(PathKind(folder.file("c.gguf.folder")) == .absent)
    }
}
