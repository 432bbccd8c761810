package import HuggingFace
package import Support

extension LlamaConfiguration {
    /// Beyond any model there is; keeps a broken file from claiming the memory for a billion layers.
    private static let mostLayers = 500

    /// Reads a `config.json` as transformers 4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`) do, with the defaults
    /// of the family's own configuration class.
    ///
    /// - Throws: ``FileError`` naming the key that is missing, has a value this program cannot run, or is not known and
    ///   may change what the network computes.
    package init(_ keys: HFConfig) throws(FileError) {
        let type = try keys.string("model_type")
        guard let family = Family(rawValue: type) else {
            let known = Family.allCases.map(\.rawValue).joined(separator: ", ")
            throw keys.failure("model_type", "\(type) is not a family this program runs; it runs \(known)")
        }
        try keys.refuseUnknown(family)
        let activation = try keys.string("hidden_act", default: "silu")
        guard ["silu", "swish"].contains(activation) else {
            throw keys.failure("hidden_act", "\(activation) is not supported, only silu")
        }
        let hidden = try keys.extent("hidden_size")
        let heads = try keys.extent("num_attention_heads")
        let keyValueHeads = try keys.extent(
            "num_key_value_heads", default: keys.absent("num_key_value_heads", family.keyValueHeads) ?? heads)
        let d = try keys.extent("head_dim", default: keys.absent("head_dim", family.headDimension) ?? hidden / heads)
        guard heads % keyValueHeads == 0 else {
            throw keys.failure("num_key_value_heads", "\(keyValueHeads) does not divide \(heads) attention heads")
        }
        guard d >= 2, d % 2 == 0 else {
            throw keys.failure("head_dim", "\(d) is odd or too small; rotary embeddings turn pairs")
        }
        let layers = try keys.extent("num_hidden_layers")
        guard layers <= Self.mostLayers else {
            throw keys.failure("num_hidden_layers", "\(layers) is more than \(Self.mostLayers)")
        }
        let epsilon = try keys.number("rms_norm_eps", default: 1e-6)
        guard epsilon > 0, epsilon < 1, Float(epsilon) > 0 else {
            throw keys.failure("rms_norm_eps", "\(epsilon) is not between 0 and 1, both excluded")
        }
        let attentionBias = family.readsAttentionBias ? try keys.bool("attention_bias", default: false) : false
        let positions = try keys.extent("max_position_embeddings")
        let vocabulary = try keys.extent("vocab_size")
        self.init(
            family: family, vocabularySize: vocabulary, hiddenSize: hidden,
            intermediateSize: try keys.extent("intermediate_size"), layers: layers, heads: heads,
            keyValueHeads: keyValueHeads, headDimension: d, maximumPositions: positions, normEpsilon: Float(epsilon),
            rotary: try RotaryScaling(keys),
            tiedEmbeddings: try keys.bool("tie_word_embeddings", default: false),
            inputBias: family == .qwen2 || attentionBias, outputBias: attentionBias,
            feedForwardBias: family == .llama ? try keys.bool("mlp_bias", default: false) : false,
            windows: try keys.windows(family, layers: layers, positions: positions),
            paddingRow: keys.paddingRow(of: vocabulary))
    }
}

extension LlamaConfiguration.Family {
    /// Where the key is absent (null means as many as there are query heads); nil where absent and null mean the same.
    fileprivate var keyValueHeads: Int? {
        switch self {
        case .llama: nil
        case .mistral: 8
        case .qwen2, .qwen3: 32
        }
    }

    /// Where the key is absent; nil for h / heads.
    fileprivate var headDimension: Int? { self == .qwen3 ? 128 : nil }

    /// Mistral has no biases and Qwen2 has those of q, k and v, whatever the key says.
    fileprivate var readsAttentionBias: Bool { self == .llama || self == .qwen3 }
}

extension HFConfig {
    /// The default of a key that is absent; nil where it is there, if only as null.
    fileprivate func absent(_ key: String, _ default: Int?) -> Int? { json[key] == nil ? `default` : nil }

    /// The window of every layer: of Mistral's layers `sliding_window` (4096 where the key is absent, none where it is null),
    /// of Qwen's the same where `use_sliding_window` is set, for the layers that `layer_types` calls `sliding_attention` or,
    /// without that, those from `max_window_layers` on. Empty where no window is shorter than the longest sequence.
    fileprivate func windows(
        _ family: LlamaConfiguration.Family, layers: Int, positions: Int
    ) throws(FileError) -> [Int?] {
        let standard = json["sliding_window"] == nil ? 4096 : nil
        let size = has("sliding_window") ? try extent("sliding_window") : standard
        let types = try layerTypes(layers)
        var slides: [Bool]
        switch family {
        case .llama:
            // The Llama of transformers has no windows; a file that says otherwise means another network.
            let window = has("sliding_window") ? size : nil
            guard window.map({ $0 >= positions }) ?? true, !(types?.contains(true) ?? false) else {
                throw failure(has("sliding_window") ? "sliding_window" : "layer_types", "a llama model has no sliding windows")
            }
            return []
        case .mistral:
            slides = [Bool](repeating: size != nil, count: layers)
            if let types, types != slides {
                throw failure("layer_types", "contradicts sliding_window, which every layer of a mistral has or none")
            }
        case .qwen2, .qwen3:
            let used = try bool("use_sliding_window", default: false) ? size : nil
            let first = try integer("max_window_layers", default: 28)
            slides = types ?? (0..<layers).map { used != nil && $0 >= first }
            guard used != nil || !slides.contains(true) else {
                throw failure("layer_types", "has sliding_attention, but use_sliding_window and sliding_window give no window")
            }
        }
        guard let size, size < positions, slides.contains(true) else { return [] }
        return slides.map { $0 ? size : nil }
    }

    /// Which layers have a window, as `layer_types` says; nil without that key.
    private func layerTypes(_ layers: Int) throws(FileError) -> [Bool]? {
        guard has("layer_types") else { return nil }
        let types = try strings("layer_types")
        guard types.count == layers else { throw failure("layer_types", "has \(types.count) entries for \(layers) layers") }
        if let other = types.first(where: { $0 != "full_attention" && $0 != "sliding_attention" }) {
            throw failure("layer_types", "\"\(other)\" is not supported; full_attention and sliding_attention are")
        }
        return types.map { $0 == "sliding_attention" }
    }
}
