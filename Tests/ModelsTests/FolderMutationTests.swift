import Foundation
import Models
import Support
import TestSupport
import Testing

/// Descriptions of models, damaged at random.
@Suite struct FolderMutationTests {
    @Test(arguments: ["llama_rope3_hf", "mistral_sliding_hf", "qwen2_sliding_hf", "qwen3_hf", "opt_hf"])
    func `a damaged config.json is read or refused`(name: String) throws {
        let folder = try TemporaryFolder()
        let model = folder.file("model")
        try FileManager.default.copyItem(atPath: GoldenSuite.ownFolder + "/llama/\(name)", toPath: model)
        let path = model + "/config.json"
        let original = try InputFile.contents(of: path, limit: 1 << 20)
        let mutations = Mutations(seed: 81, among: 5)
        let refused = try mutations.refusals(of: original, at: path) { _ in
            _ = try ModelFolder(model).description.model(positions: 8)
        }
        #expect(refused > mutations.count / 4)
    }
}
