import Autograd
import HuggingFace
import Models
import Support
import TensorCore
import TestSupport
import Testing

/// Logits, loss and all gradients of the golden suite's Llamas, Mistrals and Qwens, from transformers (see cases.json for
/// version and tolerance).
@Suite struct LlamaGoldenTests {
    static let cases = GoldenSuite.cases(group: "llama").filter { golden in
        let classes = ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"]
        return golden.params["class_"]?.string.map(classes.contains) ?? false
    }

    @Test(arguments: cases) func `logits, loss and gradients are those of transformers`(_ golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let folder = try GoldenSuite.path(try #require(golden.params["hf_folder"]?.string))
        let opened = try ModelFolder(folder)
        for name in ["config.json", "config_v5.json"] where PathKind(folder + "/" + name) == .file {
            var configuration = try LlamaConfiguration(HFConfig(folder + "/" + name))
            // The weights decide whether there is a head beside the embedding.
            configuration.tiedEmbeddings = opened.architecture.tiesHead
            let parameters = try opened.parameters()
            try check(golden, file, configuration, parameters, recompute: false)
            try check(golden, file, configuration, parameters, recompute: true)
        }
    }

    private func check(
        _ golden: GoldenCase, _ file: SafetensorsFile, _ configuration: LlamaConfiguration,
        _ parameters: Parameters<Tensor>, recompute: Bool
    ) throws {
        let ids = try file.info("input_ids").shape
        let tokens = try file.readInts("input_ids").map(Int32.init)
        let variables = parameters.map { _, tensor in Variable(parameter: tensor) }
        let tape = Tape()
        let x = configuration.description.model(positions: ids[1]).hiddenStates(
            .tokens(tokens), variables, context: CausalBatch(sequences: ids[0], length: ids[1]), recompute: recompute, on: tape)
        let logits = tape.linear(x, LinearLayer(weight: variables.logitWeight)).value
        let expected = try file.readFloat("logits")
        let tolerance = try #require(golden.tolerance["logits_abs"]?.number)
        #expect(Double(maxDifference(logits, expected)) <= tolerance)

        let targets = tokens.indices.map { ($0 + 1) % ids[1] == 0 ? -1 : tokens[$0 + 1] }
        let counted = Double(ids[0] * (ids[1] - 1))
        let (loss, sum) = tape.languageModelLoss(
            x, head: variables.logitWeight, .tokens(targets), scale: Float(1 / counted))
        let lossTolerance = try #require(golden.tolerance["loss_abs"]?.number)
        #expect(abs(sum / counted - Double(try file.readFloat("loss")[flat: 0])) <= lossTolerance)

        tape.backward(from: loss, gradient: Tensor([1], []))
        let gradientTolerance = try #require(golden.tolerance["grad_rel_fro"]?.number)
        let recorded = variables.named.filter { file.tensors["grad." + $0.name] != nil }
        #expect(recorded.count > configuration.layers)
        for (name, variable) in recorded {
            let expected = try file.readFloat("grad." + name)
            let gradient = try #require(variable.gradient, "no gradient for \(name)")
            #expect(relativeError(gradient, expected) <= gradientTolerance, "\(name)")
        }
    }
}
