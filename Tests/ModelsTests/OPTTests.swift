import Autograd
import HuggingFace
import LinearAlgebra
import Models
import Support
import TensorCore
import TestSupport
import Testing

/// OPT against transformers, and what its config.json may say.
@Suite struct OPTTests {
    private static func cases(masked: Bool) -> [GoldenCase] {
        GoldenSuite.cases(group: "llama").filter { golden in
            let tensors = try? GoldenSuite.tensors(of: golden)
            return golden.params["class_"]?.string == "OPTForCausalLM" && (tensors?.tensors["attention_mask"] != nil) == masked
        }
    }

    @Test(arguments: cases(masked: false)) func `logits, loss and gradients are those of transformers`(_ golden: GoldenCase)
        throws
    {
        let file = try GoldenSuite.tensors(of: golden)
        let folder = try ModelFolder(GoldenSuite.path(try #require(golden.params["hf_folder"]?.string)))
        let ids = try file.info("input_ids").shape
        let tokens = try file.readInts("input_ids").map(Int32.init)
        let counted = Double(ids[0] * (ids[1] - 1))
        let targets = tokens.indices.map { ($0 + 1) % ids[1] == 0 ? -1 : tokens[$0 + 1] }
        for recompute in [false, true] {
            let variables = try folder.parameters().map { _, tensor in Variable(parameter: tensor) }
            let tape = Tape()
            let x = folder.description.model(positions: ids[1]).hiddenStates(
                .tokens(tokens), variables, context: CausalBatch(sequences: ids[0], length: ids[1]), recompute: recompute,
                on: tape)
            let logits = matmul(x.value, .asStored, variables.logitWeight.value, .transposed)
            let tolerance = try #require(golden.tolerance["logits_abs"]?.number)
            #expect(Double(maxDifference(logits, try file.readFloat("logits"))) <= tolerance)
            let (loss, sum) = tape.languageModelLoss(
                x, head: variables.logitWeight, .tokens(targets), scale: Float(1 / counted))
            let expected = Double(try file.readFloat("loss")[flat: 0])
            #expect(abs(sum / counted - expected) <= (try #require(golden.tolerance["loss_abs"]?.number)) * max(1, expected))
            tape.backward(from: loss, gradient: Tensor([1], []))
            for (name, variable) in variables.named {
                let gradient = try #require(variable.gradient, "no gradient for \(name)")
                guard file.tensors["grad." + name] != nil else { continue }
                let limit = try #require(golden.tolerance["grad_rel_fro"]?.number)
                #expect(relativeError(gradient, try file.readFloat("grad." + name)) <= limit, "\(name)")
            }
        }
    }

    /// A row that is padded on the left is the sequence without its padding.
    @Test(arguments: cases(masked: true)) func `sequences without their padding have the logits of padded ones`(
        _ golden: GoldenCase
    ) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let folder = try ModelFolder(GoldenSuite.path(try #require(golden.params["hf_folder"]?.string)))
        let (parameters, ids) = (try folder.parameters(), try file.info("input_ids").shape)
        let (tokens, mask) = (try file.readInts("input_ids").map(Int32.init), try file.readInts("attention_mask"))
        let expected = try file.readFloat("logits").reshaped([tokens.count, folder.architecture.vocabularySize])
        for row in 0..<ids[0] {
            let kept = (row * ids[1]..<(row + 1) * ids[1]).filter { mask[$0] != 0 }
            let logits = folder.description.model(positions: ids[1]).logits(kept.map { tokens[$0] }, parameters)
            let first = try #require(kept.first)
            #expect(kept.count == kept[kept.count - 1] - first + 1, "padding in the middle")
            #expect(maxDifference(logits, expected.rows(first..<first + kept.count)) <= 2e-4)
        }
    }

    @Test(arguments: ["opt_hf", "opt350_style_hf"])
    func `tokens one after the other through the cache give what the whole sequence gives`(
        _ name: String
    ) throws {
        let folder = try ModelFolder(GoldenSuite.ownFolder + "/llama/" + name)
        let parameters = try folder.parameters().map { _, tensor in Variable(constant: tensor) }
        let model = folder.description.model(positions: 12)
        let sequences: [[Int32]] = [(0..<12).map { $0 * 7 % 180 }, (0..<12).map { ($0 * 11 + 5) % 180 }]
        let whole = Network(model: model, parameters: parameters, hooks: IdentityHooks()).outputs(sequences, from: nil)
        let drawing = SequenceDrawing(model, parameters, length: 12, seed: 0, streams: 0..<2)
        for position in 0..<12 {
            let x = drawing.advance(.tokens(sequences.map { $0[position] }))
            for sequence in 0..<2 {
                let row = sequence * 12 + position
                #expect(maxDifference(x.rows(sequence..<sequence + 1), whole.rows(row..<row + 1)) <= 2e-5 * whole.maxMagnitude)
            }
        }
    }

    private static let json: JSONValue = [
        "model_type": "opt", "vocab_size": 180, "hidden_size": 48, "ffn_dim": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    ]

    private static func read(_ changes: [String: JSONValue]) throws -> OPTConfiguration {
        var object = json.object ?? JSONObject()
        for (key, value) in changes { object[key] = value }
        return try OPTConfiguration(HFConfig(object, path: "config.json"))
    }

    @Test func `defaults are those of the family`() throws {
        let c = try Self.read([
            "dropout": 0.1, "layerdrop": 0.0, "prefix": "</s>", "init_std": 0.02, "activation_dropout": 0.0,
            "output_projection": true,
        ])
        #expect(c.normsBefore && c.finalNorm && c.bias && c.affineNorms && c.tiedEmbeddings && !c.projects)
        let table = try #require(c.architecture.entry.first { $0.role == .positions })
        #expect(table.shape == [66, 48])
        #expect(try Self.read([:]).paddingRow == 1 && Self.read(["pad_token_id": .null]).paddingRow == nil)
    }

    @Test(
        arguments: [
            ("activation_function", "gelu"), ("num_attention_heads", 5), ("num_hidden_layers", 1_000_000), ("vocab_size", 0),
            ("enable_bias", "yes"), ("rope_theta", 10_000.0), ("num_experts", 4), ("word_embed_proj_dim", -1),
        ] as [(String, JSONValue)])
    func `what the program cannot run is refused by its key`(_ key: String, _ value: JSONValue) {
        let error = #expect(throws: FileError.self) { try Self.read([key: value]) }
        #expect(error?.description.contains(key) == true)
    }

    @Test func `shapes follow the keys`() throws {
        let names = { (c: OPTConfiguration) in c.architecture.parameters().named.map(\.name) }
        #expect(
            try !names(Self.read(["enable_bias": false])).contains { $0.hasSuffix("fc1.bias") || $0.hasSuffix("q_proj.bias") })
        #expect(try !names(Self.read(["layer_norm_elementwise_affine": false])).contains { $0.contains("layer_norm") })
        let removed = try Self.read(["_remove_final_layer_norm": true])
        #expect(!names(removed).contains("model.decoder.final_layer_norm.weight"))
        let old = try Self.read(["do_layer_norm_before": false, "word_embed_proj_dim": 24])
        #expect(names(old).contains("model.decoder.project_in.weight") && !old.finalNorm)
        for c in [removed, old, try Self.read(["enable_bias": false])] { #expect(c.architecture.rotatability != .rotatable) }
        for c in [try Self.read([:]), try Self.read(["enable_bias": false, "layer_norm_elementwise_affine": false])] {
            #expect(c.architecture.rotatability == .rotatable && c.architecture.takesMeans)
        }
    }
}
