internal import HuggingFace
internal import Support

extension LlamaConfiguration.Family {
    /// Keys that the family's configuration is read from.
    fileprivate var keys: Set<String> {
        let common: Set = [
            "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
            "rope_theta", "rope_scaling", "rope_parameters", "sliding_window", "layer_types",
            // Not read: it changes nothing, and is this family's alone.
            "is_llama_config",
        ]
        return switch self {
        case .llama: common.union(["attention_bias", "mlp_bias"])
        case .mistral: common
        case .qwen2: common.union(["use_sliding_window", "max_window_layers"])
        case .qwen3: common.union(["use_sliding_window", "max_window_layers", "attention_bias"])
        }
    }
}

extension HFConfig {
    /// - Throws: at the first key that is neither read, nor harmless, nor neutral.
    func refuseUnknown(_ family: LlamaConfiguration.Family) throws(FileError) {
        try refuseUnknown(family.rawValue, known: family.keys) { key, value in
            // A qwen2 has biases of q, k and v, whatever its file says.
            let isBias = family == .qwen2 && ["attention_bias", "qkv_bias"].contains(key)
            return isBias ? value == true || value == .null : value.isNeutral(for: key)
        }
    }
}
