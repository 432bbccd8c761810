import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@Suite struct GoldenSuiteTests {
    /// A copy of the suite may leave out the files of families that are not built yet.
    @Test func `every tensor of every file of the suite can be read`() throws {
        let suite = try GoldenSuite.current.get()
        let files = suite.cases.map(\.file).filter {
            $0.hasSuffix(".safetensors") && PathKind("\(suite.folder)/\($0)") == .file
        }
        #expect(!files.isEmpty)
        for path in files {
            let file = try SafetensorsFile("\(suite.folder)/\(path)")
            for name in file.names {
                let info = try file.info(name)
                if [.i64, .i32, .u8, .bool].contains(info.type) {
                    #expect(try file.readInts(name).count == info.count)
                } else {
                    #expect(try file.readFloat(name).shape == info.shape)
                }
            }
        }
    }

    /// A test with no cases passes.
    @Test(
        .enabled(if: GoldenSuite.isOwn),
        arguments: [
            "cayley", "gptq", "hadamard", "llama", "opcount", "quant", "spinquant", "tokenizer", "tsvd", "tsvd_conv",
            "tsvd_qat",
        ]
    )
    func `the suite has cases of every group that tests read`(_ group: String) {
        #expect(!GoldenSuite.cases(group: group).isEmpty)
    }

    @Test(.enabled(if: GoldenSuite.isOwn), arguments: ["policy", "best_s", "stall"])
    func `the suite has the cases of TSVD that tests choose by name`(_ name: String) {
        #expect(GoldenSuite.cases(group: "tsvd").contains { $0.id.contains(name) })
    }

    /// Tests choose cases by what stands in their parameters, too.
    @Test(
        .enabled(if: GoldenSuite.isOwn),
        arguments: [
            ("llama", "class_", "LlamaForCausalLM", 6), ("llama", "class_", "MistralForCausalLM", 2),
            ("llama", "class_", "Qwen2ForCausalLM", 2), ("llama", "class_", "Qwen3ForCausalLM", 1),
            ("llama", "class_", "OPTForCausalLM", 3),
        ]
    )
    func `the suite has the cases that tests choose by their model`(
        _ group: String, _ key: String, _ value: String, _ least: Int
    ) {
        #expect(GoldenSuite.cases(group: group).count { $0.params[key]?.string == value } >= least)
    }

    @Test(
        .enabled(if: GoldenSuite.isOwn),
        arguments: [("spinquant", "bits"), ("spinquant", "bits_w_a_k_v"), ("tsvd", "kind")])
    func `the suite has the cases that tests choose by a parameter`(_ group: String, _ key: String) {
        #expect(GoldenSuite.cases(group: group).contains { $0.params[key] != nil })
    }

    @Test func `closeness sees differences, NaN and other sizes`() {
        let a = Tensor([3, 4], [2])
        #expect(maxDifference(a, a) == 0 && relativeError(a, a) == 0)
        #expect(maxDifference(Tensor([3, 4.5], [2]), a) == 0.5)
        #expect(abs(relativeError(Tensor([3, 4.5], [2]), a) - 0.1) < 1e-9)
        #expect(maxDifference(Tensor([3, .nan], [2]), a).isNaN && relativeError(Tensor([3, .nan], [2]), a).isNaN)
        #expect(maxDifference(Tensor([3], [1]), a) == .infinity)
    }
}
