import Foundation
import HuggingFace
import Testing

extension CommandLineTests {
    @Suite struct FullDisk {
        /// The first file that does not fit: the model; with less room, the rotations; with next to none, the configuration.
        @Test(arguments: [(200, "model"), (8, "rotations.safetensors"), (1, "config.yaml")])
        func `a run that does not fit ends with 74 and leaves whole files only`(_ kibibytes: Int, _ file: String) throws {
            let model = try ModelFolder()
            let outcome = try Program.run(model.arguments(), in: model.path, fileSizeLimit: kibibytes)
            #expect(outcome.code == 74, "\(outcome.errors)")
            #expect(outcome.complaints.count == 1 && outcome.complaints[0].contains("out/\(file)"), "\(outcome.errors)")
            let left = try FileManager.default.subpathsOfDirectory(atPath: model.path)
            #expect(!left.contains { $0.contains(".tmp") || $0.contains("out/\(file)") || $0.contains("summary.json") }, "\(left)")
        }
    }
}
