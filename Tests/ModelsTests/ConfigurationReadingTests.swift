import Models
import Support
import TestSupport
import Testing

/// config.json as transformers reads it, and what of it is refused.
@Suite struct ConfigurationReadingTests {
    private func read(_ changes: [String: JSONValue?]) throws -> LlamaConfiguration {
        try LlamaConfiguration(TinyModel.config(changes))
    }

    private func expectRefusal(
        _ changes: [String: JSONValue?], _ fragment: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(sourceLocation: sourceLocation) { try read(changes) } throws: { error in
            (error as? FileError)?.exitCode == .data && "\(error)".contains(fragment)
        }
    }

    @Test func `the base of the angles is that of the dictionary, else the one beside it`() throws {
        let cases: [([String: JSONValue?], Double)] = [
            ([:], 10_000), (["rope_theta": 5e5], 5e5), (["rope_parameters": ["rope_type": "default"], "rope_theta": 5e5], 5e5),
            (["rope_parameters": ["rope_type": "default", "rope_theta": 2e5], "rope_theta": 5e5], 2e5),
            (["rope_parameters": [:], "rope_theta": 5e5], 5e5), (["rope_parameters": nil, "rope_theta": 500_000], 5e5),
            (["rope_scaling": ["type": "default"], "rope_theta": 5e5], 5e5), (["rope_scaling": .null, "rope_theta": 5e5], 5e5),
            (["rope_scaling": ["type": "default"], "rope_parameters": ["rope_type": "default"], "rope_theta": 5e5], 5e5),
        ]
        for (changes, base) in cases { #expect(try read(changes).rotary == RotaryScaling(base: base), "\(changes)") }
        let linear = try read(["rope_scaling": ["type": "linear", "factor": 2.0], "rope_theta": 5e5]).rotary
        #expect(linear == RotaryScaling(base: 5e5, kind: .linear(factor: 2)))
    }

    @Test func `angles that are not those of one known rule are refused`() {
        for type: JSONValue in ["dynamic", "yarn", "longrope", "su", "mrope", "proportional"] {
            expectRefusal(
                ["rope_parameters": ["rope_type": type, "factor": 2.0]], "is not supported; default, linear and llama3")
            expectRefusal(["rope_scaling": ["type": type, "factor": 2.0]], "is not supported; default, linear and llama3")
        }
        expectRefusal(["rope_parameters": ["full_attention": ["rope_theta": 5e5]]], "full_attention")
        expectRefusal(
            ["rope_parameters": ["rope_type": "default", "sliding_attention": ["rope_theta": 5e5]]], "sliding_attention")
        expectRefusal(["rope_parameters": ["rope_theta": 0]], "rope_theta")
        expectRefusal(["rope_theta": -1], "rope_theta")
        expectRefusal(["rope_theta": "10000"], "rope_theta")
        expectRefusal(["rope_parameters": ["partial_rotary_factor": 0.5]], "partial_rotary_factor")
        expectRefusal(["rope_scaling": ["factor": 2.0]], "factor")
        expectRefusal(["rope_scaling": ["rope_type": "default", "type": "linear", "factor": 2.0]], "contradicts")
        expectRefusal(
            ["rope_scaling": ["type": "linear", "factor": 2.0], "rope_parameters": ["rope_type": "default"]],
            "contradicts rope_parameters")
        expectRefusal(["rope_scaling": ["type": "linear", "factor": 2.0, "mrope_section": [1, 1, 2]]], "mrope_section")
    }

    @Test func `each family's windows are those of its own keys`() throws {
        let (window, mistral): (JSONValue, JSONValue) = (8, "mistral")
        #expect(try read(["model_type": mistral, "sliding_window": window]).windows == [8, 8])
        #expect(try read(["model_type": mistral, "sliding_window": .null]).windows == [])
        #expect(try read(["model_type": mistral, "sliding_window": 64]).windows == [])
        #expect(try read(["model_type": mistral, "max_position_embeddings": 8192]).windows == [4096, 4096])
        #expect(try read(["model_type": mistral]).windows == [])
        for family: JSONValue in ["qwen2", "qwen3"] {
            let on: [String: JSONValue?] = ["model_type": family, "use_sliding_window": true, "sliding_window": window]
            func qwen(_ more: [String: JSONValue?]) throws -> [Int?] { try read(on.merging(more) { $1 }).windows }
            #expect(try qwen(["max_window_layers": 1]) == [nil, 8])
            #expect(try qwen(["max_window_layers": 0]) == [8, 8])
            // Both from layer 28 on where the key is absent: this model has none.
            #expect(try qwen([:]) == [])
            #expect(try qwen(["layer_types": ["sliding_attention", "full_attention"]]) == [8, nil])
            #expect(try qwen(["layer_types": ["full_attention", "full_attention"], "max_window_layers": 0]) == [])
            #expect(try qwen(["use_sliding_window": false, "max_window_layers": 0]) == [])
            #expect(try qwen(["sliding_window": .null, "max_window_layers": 0]) == [])
            #expect(
                try qwen(["sliding_window": nil, "max_window_layers": 0, "max_position_embeddings": 5000]) == [4096, 4096])
        }
    }

    @Test func `windows that a family does not have, or that contradict each other, are refused`() {
        expectRefusal(["sliding_window": 8], "sliding_window")
        expectRefusal(["layer_types": ["sliding_attention", "full_attention"]], "layer_types")
        expectRefusal(["model_type": "mistral", "sliding_window": 0], "sliding_window")
        expectRefusal(["model_type": "mistral", "sliding_window": -1], "sliding_window")
        expectRefusal(
            ["model_type": "mistral", "sliding_window": 8, "layer_types": ["full_attention", "full_attention"]], "layer_types")
        let qwen: [String: JSONValue?] = ["model_type": "qwen2", "use_sliding_window": true, "sliding_window": 8]
        expectRefusal(qwen.merging(["layer_types": ["sliding_attention"]]) { $1 }, "layer_types: has 1 entries for 2 layers")
        expectRefusal(qwen.merging(["layer_types": ["chunked_attention", "full_attention"]]) { $1 }, "chunked_attention")
        expectRefusal(
            qwen.merging(["use_sliding_window": false, "layer_types": ["sliding_attention", "full_attention"]]) { $1 },
            "layer_types")
    }

    @Test(
        arguments: [
            ("hidden_act", "gelu"), ("partial_rotary_factor", 0.5), ("logits_scaling", 8.0), ("embedding_multiplier", 12.0),
            ("residual_multiplier", 0.22), ("attention_multiplier", 0.015), ("final_logit_softcapping", 30.0),
            ("attn_logit_softcapping", 50.0), ("num_experts", 8), ("num_local_experts", 8), ("clip_qkv", 8.0),
            ("use_qk_norm", true),
            ("query_pre_attn_scalar", 256), ("no_rope_layers", [1, 0]), ("rms_norm_eps", 0), ("rms_norm_eps", 4e9),
            ("rms_norm_eps", -1e-6), ("rms_norm_eps", 1e-60), ("logit_scale", 0.0625), ("scale_attn_weights", false),
            ("use_rope", false),
            ("rope_interleaved", true), ("a_key_nobody_knows", 3), ("mlp_type", "gelu"), ("num_experts_per_tok", 2),
            ("attention_chunk_size", 8192), ("original_max_position_embeddings", 32),
        ] as [(String, JSONValue)])
    func `a key that changes what is computed is refused with its name`(key: String, value: JSONValue) {
        expectRefusal([key: value], key)
    }

    @Test func `biases that a family does not have are refused`() throws {
        expectRefusal(["model_type": "mistral", "sliding_window": .null, "attention_bias": true], "attention_bias")
        expectRefusal(["model_type": "qwen2", "attention_bias": false], "attention_bias")
        expectRefusal(["model_type": "qwen3", "mlp_bias": true], "mlp_bias")
        #expect(try read(["model_type": "qwen2", "attention_bias": true]).outputBias == false)
        #expect(try read(["attention_bias": true, "mlp_bias": true]).feedForwardBias)
    }

    @Test func `keys that change nothing are passed over`() throws {
        let plain = try read([:])
        let harmless: [String: JSONValue?] = [
            "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16", "dtype": "float32", "use_cache": true,
            "transformers_version": "5.23.0", "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": .null,
            "initializer_range": 0.02, "pretraining_tp": 1, "attention_dropout": 0.0, "_name_or_path": "x",
            "max_window_layers": 28,
            "auto_map": ["AutoModel": "m.M"], "partial_rotary_factor": 1.0, "logits_scaling": 1, "num_experts": 0,
            "clip_qkv": .null, "use_qk_norm": false, "final_logit_softcapping": .null, "rope_interleaved": false,
            "transformers.js_config": ["dtype": "q4"], "pruned_heads": [:], "is_encoder_decoder": false, "temperature": 0.7,
            "hidden_act": "silu", "layer_types": ["full_attention", "full_attention"], "sliding_window": .null,
        ]
        #expect(try read(harmless) == plain)
    }

    /// As `nn.Embedding(vocab_size, hidden_size, padding_idx)` counts it.
    @Test func `the row that padding names is one of the embedding's, or none`() throws {
        for (token, row) in [(0, 0), (31, 31), (-1, 31), (-32, 0)] {
            #expect(try read(["pad_token_id": .integer(token)]).paddingRow == row, "\(token)")
        }
        for token in [32, -33, .max, .min] { #expect(try read(["pad_token_id": .integer(token)]).paddingRow == nil) }
        for token: JSONValue? in [nil, .null] { #expect(try read(["pad_token_id": token]).paddingRow == nil) }
    }

    @Test func `what a family leaves out has that family's default`() throws {
        let absent: [String: JSONValue?] = ["num_key_value_heads": nil, "head_dim": nil]
        #expect(try read(absent).keyValueHeads == 2 && read(absent).headDimension == 8)
        let qwen3 = try read(["model_type": "qwen3", "head_dim": nil])
        #expect(qwen3.headDimension == 128)
        #expect(
            try read(["model_type": "mistral", "num_attention_heads": 16, "head_dim": 2, "num_key_value_heads": nil])
                .keyValueHeads == 8)
        #expect(
            try read(["model_type": "qwen2", "num_attention_heads": 64, "head_dim": 2, "num_key_value_heads": nil])
                .keyValueHeads == 32)
        #expect(try read(["model_type": "mistral", "num_key_value_heads": .null]).keyValueHeads == 2)
    }
}
