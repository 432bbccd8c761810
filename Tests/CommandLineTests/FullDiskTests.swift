import Foundation
import HuggingFace
import Testing

extension CommandLineTests {
    @Suite struct FullDisk {
        /// The first file that does not fit: the model; with less room, the checkpoint, or where none is asked for the
        /// rotations (18.4 and 18.7 KiB, of which the configuration with all its comments must stay below); with next to none,
        /// the configuration.
        @Test(arguments: [
            (200, "model", 1), (18, "checkpoints/step-1.tmp/rank-0.safetensors", 1), (18, "rotations.safetensors", 0),
            (1, "config.yaml", 1),
        ])
        func `a run that does not fit ends with 74 and leaves whole files only`(
            _ kibibytes: Int, _ file: String, _ checkpointEvery: Int
        ) throws {
            let model = try ModelFolder()
            let settings = ["--set", "checkpoint.every=\(checkpointEvery)"]
            let outcome = try Program.run(model.arguments() + settings, in: model.path, fileSizeLimit: kibibytes)
            #expect(outcome.code == 74, "\(outcome.errors)")
            #expect(outcome.errorLines.count == 1 && outcome.errorLines[0].contains("out/\(file)"), "\(outcome.errors)")
            let left = try FileManager.default.subpathsOfDirectory(atPath: model.path)
            #expect(
                !left.contains { $0.contains(".tmp") || $0.contains("out/\(file)") || $0.contains("summary.json") }, "\(left)")
        }
    }
}
