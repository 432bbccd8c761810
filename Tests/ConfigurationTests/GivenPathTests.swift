import Foundation
import Support
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
        for path in [folder.file("model"), folder.file("absent"), "absent", "./a/b", "../a", "a/b/c"] {
            #expect(try GivenPath.model(path) == path)
        }
        for path in [folder.file("R.bin"), folder.path, "absent"] {
            #expect(GivenPath.file(path, inRun: "rotations.safetensors") == path)
        }
    }

    @Test func `a folder without the file that is meant is refused by name`() throws {
        let folder = try TemporaryFolder()
        try run(folder, "run/rotations.safetensors")
        let config = try RunConfig(assignments: ["ternary.path=\(folder.file("run"))"])
        let error = #expect(throws: FileError.self) { try config.resolvingRunFolders() }
        #expect(error?.exitCode == .noInput && error?.description.contains("holds no ternary.safetensors") == true)
    }

    @Test func `slashes at the end are left out`() throws {
        let folder = try TemporaryFolder()
        try run(folder, "run/model/config.json", "run/rotations.safetensors", "model/config.json")
        #expect(try GivenPath.model(folder.file("run//")) == folder.file("run/model"))
        #expect(try GivenPath.model(folder.file("model/")) == folder.file("model"))
        #expect(try GivenPath.model("absent/") == "absent")
        let rotations = "rotations.safetensors"
        #expect(GivenPath.file(folder.file("run//"), inRun: rotations) == folder.file("run/\(rotations)"))
        #expect("/".withoutEndingSlashes == "/")
    }

    @Test func `the name of a model elsewhere is refused with how to get it`() {
        do {
            _ = try GivenPath.model("meta-llama/Llama-3.2-1B")
            Issue.record("accepted")
        } catch {
            let error = error as? FileError
            #expect(error?.exitCode == .noInput)
            #expect(
                error?.description.contains("hf download meta-llama/Llama-3.2-1B --local-dir Llama-3.2-1B") == true
            )
        }
    }

    /// Nothing is made of it either: it need not even be one.
    @Test(arguments: ["", "eval", "quantize"]) func `settings that name a GGUF file keep its name and read nothing of it`(
        _ job: String
    ) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.gguf")
        try AtomicFile.write("GGUF", to: path)
        let config = try SettingsRequest(model: path).configuration(job: job)
        #expect(config.model.path == path)
        #expect(try config.resolvingRunFolders().model.path == path)
        #expect(try entries(ofFolder: folder.path) == ["a.gguf"])
    }
}
