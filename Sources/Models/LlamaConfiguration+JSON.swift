package import HuggingFace

extension LlamaConfiguration {
    /// Reads a `config.json`, as transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`) write it.
    ///
    /// - Parameters:
    ///   - json: the parsed file.
    ///   - path: its path, for messages.
    /// - Throws: ``HuggingFaceError`` naming the key that is missing or has a value this program cannot run.
    package init(_ json: JSONValue, path: String) throws(HuggingFaceError) {
        let keys = ConfigurationKeys(json: json, path: path)
        let type = try keys.string("model_type")
        guard let family = Family(rawValue: type) else {
            let known = Family.allCases.map(\.rawValue).joined(separator: ", ")
            throw keys.problem("model_type", "\(type) is not a family this program runs; it runs \(known)")
        }
        let activation = try keys.string("hidden_act", default: "silu")
        guard activation == "silu" else { throw keys.problem("hidden_act", "\(activation) is not supported, only silu") }
        let hidden = try keys.size("hidden_size")
        let heads = try keys.size("num_attention_heads")
        let keyValueHeads = try keys.size("num_key_value_heads", default: heads)
        let d = try keys.size("head_dim", default: hidden / heads)
        guard heads % keyValueHeads == 0 else {
            throw keys.problem("num_key_value_heads", "\(keyValueHeads) does not divide \(heads) attention heads")
        }
        guard d >= 2, d % 2 == 0 else { throw keys.problem("head_dim", "\(d) is odd or too small; rotary embeddings turn pairs") }
        let positions = try keys.size("max_position_embeddings")
        if family == .mistral, let window = try keys.optionalSize("sliding_window"), window < positions {
            throw keys.problem("sliding_window", "\(window) is below max_position_embeddings; sliding windows are not supported")
        }
        let attentionBias = try keys.bool("attention_bias", default: false)
        self.init(
            family: family, vocabularySize: try keys.size("vocab_size"), hiddenSize: hidden,
            intermediateSize: try keys.size("intermediate_size"), layers: try keys.size("num_hidden_layers"), heads: heads,
            keyValueHeads: keyValueHeads, headDimension: d, maximumPositions: positions,
            normEpsilon: Float(try keys.number("rms_norm_eps", default: 1e-6)),
            rotary: try RotaryScaling(keys, positions: positions),
            tiedEmbeddings: try keys.bool("tie_word_embeddings", default: false),
            inputBias: family == .qwen2 || attentionBias, outputBias: family != .qwen2 && attentionBias,
            feedForwardBias: try keys.bool("mlp_bias", default: false))
    }
}

extension RotaryScaling {
    fileprivate init(_ keys: ConfigurationKeys, positions: Int) throws(HuggingFaceError) {
        let new = try keys.object("rope_parameters")
        let legacy = try keys.object("rope_scaling")
        let scaling = new ?? legacy
        let base = try (new ?? keys).number("rope_theta", default: 10_000)
        guard base > 0 else { throw keys.problem("rope_theta", "\(base) is not positive") }
        self.init(base: base)
        guard let scaling else { return }
        let type = try scaling.string("rope_type", default: try scaling.string("type", default: "default"))
        switch type {
        case "default": break
        case "linear": kind = .linear(factor: try scaling.positive("factor"))
        case "llama3":
            let (low, high) = (try scaling.positive("low_freq_factor"), try scaling.positive("high_freq_factor"))
            guard low < high else { throw scaling.problem("low_freq_factor", "\(low) is not below high_freq_factor \(high)") }
            kind = .llama3(
                factor: try scaling.positive("factor"), lowFrequency: low, highFrequency: high,
                originalPositions: try scaling.positive("original_max_position_embeddings"))
        default: throw scaling.problem("rope_type", "\(type) is not supported; default, linear and llama3 are")
        }
    }
}

/// Typed access to the members of a JSON object, with errors that name file and key.
private struct ConfigurationKeys {
    let json: JSONValue
    let path: String

    func problem(_ key: String, _ text: String) -> HuggingFaceError { HuggingFaceError(.malformed, "\(path): \(key)", text) }

    /// The member, or nil where it is absent or null.
    private func member(_ key: String) -> JSONValue? { json[key] == .null ? nil : json[key] }

    private func value<T>(
        _ key: String, _ kind: String, default fallback: T?, _ read: (JSONValue) -> T?
    ) throws(HuggingFaceError) -> T {
        guard let member = member(key) else {
            guard let fallback else { throw problem(key, "missing; a \(kind) is needed") }
            return fallback
        }
        guard let value = read(member) else { throw problem(key, "is not a \(kind)") }
        return value
    }

    func string(_ key: String, default fallback: String? = nil) throws(HuggingFaceError) -> String {
        try value(key, "string", default: fallback) { $0.string }
    }

    func bool(_ key: String, default fallback: Bool) throws(HuggingFaceError) -> Bool {
        try value(key, "boolean", default: fallback) { $0.bool }
    }

    func number(_ key: String, default fallback: Double? = nil) throws(HuggingFaceError) -> Double {
        try value(key, "finite number", default: fallback) { $0.number.flatMap { $0.isFinite ? $0 : nil } }
    }

    func positive(_ key: String) throws(HuggingFaceError) -> Double {
        let value = try number(key)
        guard value > 0 else { throw problem(key, "\(value) is not positive") }
        return value
    }

    /// A size that arithmetic on shapes cannot overflow with.
    func size(_ key: String, default fallback: Int? = nil) throws(HuggingFaceError) -> Int {
        let value = try value(key, "whole number", default: fallback) { $0.integer }
        guard (1...1 << 26).contains(value) else { throw problem(key, "\(value) is outside 1...\(1 << 26)") }
        return value
    }

    func optionalSize(_ key: String) throws(HuggingFaceError) -> Int? { member(key) == nil ? nil : try size(key) }

    func object(_ key: String) throws(HuggingFaceError) -> ConfigurationKeys? {
        guard let member = member(key) else { return nil }
        guard member.object != nil else { throw problem(key, "is not an object") }
        return ConfigurationKeys(json: member, path: "\(path): \(key)")
    }
}
