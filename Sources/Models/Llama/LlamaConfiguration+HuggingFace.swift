package import HuggingFace

extension LlamaConfiguration {
    /// Beyond any model there is; keeps a broken file from claiming the memory for a billion layers.
    private static let mostLayers = 500

    /// Reads a `config.json`, as transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`) write it.
    ///
    /// - Throws: ``HuggingFaceError`` naming the key that is missing or has a value this program cannot run.
    package init(_ keys: HFConfig) throws(HuggingFaceError) {
        let type = try keys.string("model_type")
        guard let family = Family(rawValue: type) else {
            let known = Family.allCases.map(\.rawValue).joined(separator: ", ")
            throw keys.failure("model_type", "\(type) is not a family this program runs; it runs \(known)")
        }
        let activation = try keys.string("hidden_act", default: "silu")
        guard activation == "silu" else { throw keys.failure("hidden_act", "\(activation) is not supported, only silu") }
        let hidden = try keys.extent("hidden_size")
        let heads = try keys.extent("num_attention_heads")
        let keyValueHeads = try keys.extent("num_key_value_heads", default: heads)
        let d = try keys.extent("head_dim", default: hidden / heads)
        guard heads % keyValueHeads == 0 else {
            throw keys.failure("num_key_value_heads", "\(keyValueHeads) does not divide \(heads) attention heads")
        }
        guard d >= 2, d % 2 == 0 else { throw keys.failure("head_dim", "\(d) is odd or too small; rotary embeddings turn pairs") }
        let positions = try keys.extent("max_position_embeddings")
        let window = family == .mistral ? try keys.extent("sliding_window", default: positions) : positions
        guard window >= positions else {
            throw keys.failure("sliding_window", "\(window) is below max_position_embeddings; sliding windows are not supported")
        }
        let layers = try keys.extent("num_hidden_layers")
        guard layers <= Self.mostLayers else {
            throw keys.failure("num_hidden_layers", "\(layers) is more than \(Self.mostLayers)")
        }
        let attentionBias = try keys.bool("attention_bias", default: false)
        self.init(
            family: family, vocabularySize: try keys.extent("vocab_size"), hiddenSize: hidden,
            intermediateSize: try keys.extent("intermediate_size"), layers: layers, heads: heads,
            keyValueHeads: keyValueHeads, headDimension: d, maximumPositions: positions,
            normEpsilon: Float(try keys.number("rms_norm_eps", default: 1e-6)),
            rotary: try RotaryScaling(keys),
            tiedEmbeddings: try keys.bool("tie_word_embeddings", default: false),
            inputBias: family == .qwen2 || attentionBias, outputBias: family != .qwen2 && attentionBias,
            feedForwardBias: try keys.bool("mlp_bias", default: false))
    }
}

extension RotaryScaling {
    fileprivate init(_ keys: HFConfig) throws(HuggingFaceError) {
        let new = try keys.object("rope_parameters")
        let legacy = try keys.object("rope_scaling")
        let scaling = new ?? legacy
        let base = try (new ?? keys).number("rope_theta", default: 10_000)
        guard base > 0 else { throw keys.failure("rope_theta", "\(base) is not positive") }
        self.init(base: base)
        guard let scaling else { return }
        let type = try scaling.string("rope_type", default: try scaling.string("type", default: "default"))
        switch type {
        case "default": break
        case "linear": kind = .linear(factor: try scaling.positive("factor"))
        case "llama3":
            let (low, high) = (try scaling.positive("low_freq_factor"), try scaling.positive("high_freq_factor"))
            guard low < high else { throw scaling.failure("low_freq_factor", "\(low) is not below high_freq_factor \(high)") }
            kind = .llama3(
                factor: try scaling.positive("factor"), lowFrequency: low, highFrequency: high,
                originalPositions: try scaling.positive("original_max_position_embeddings"))
        default: throw scaling.failure("rope_type", "\(type) is not supported; default, linear and llama3 are")
        }
    }
}

extension HFConfig {
    fileprivate func positive(_ key: String) throws(HuggingFaceError) -> Double {
        let value = try number(key)
        guard value > 0, value.isFinite else { throw failure(key, "\(value) is not a positive number") }
        return value
    }
}
