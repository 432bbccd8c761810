internal import HuggingFace
internal import Support

// Which keys of a config.json this program knows: those it reads, those that no weight and no activation depends on, and those
// of other networks whose neutral value says that this is not one of them. Anything else may change what the network computes,
// and a network that is run as another one gives plausible wrong numbers.

/// Keys that say nothing about what the network computes: where it comes from, how it was trained, how text is drawn from it
/// and how other programs run it; and those that a folder's reader handles, see ``ModelFolder``.
private let harmlessKeys: Set<String> = [
    "quantization_config", "compression_config", "quantization", "sq_train", "auto_map",
    // Origin.
    "_name_or_path", "_commit_hash", "architectures", "transformers_version", "tokenizer_class", "name", "license", "language",
    "task_specific_params", "finetuning_task", "problem_type", "id2label", "label2id", "num_labels",
    "transformers.js_config", "unsloth_fixed", "unsloth_version", "max_sequence_length", "model_max_length", "seq_length",
    "max_window_layers",
    // Types and programs.
    "dtype", "torch_dtype", "torchscript", "use_bfloat16", "use_cache", "return_dict", "use_return_dict", "output_attentions",
    "output_hidden_states", "output_scores", "return_dict_in_generate", "tf_legacy_loss", "pretraining_tp",
    "gradient_checkpointing", "chunk_size_feed_forward", "attn_implementation", "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal", "_flash_attn_2_enabled", "use_flash_attention", "use_flash_attention_2", "use_flash_attn",
    "is_decoder", "_from_model_config", "cache_implementation", "transformers_weights",
    // Training.
    "initializer_range", "initializer_factor", "attention_dropout", "hidden_dropout", "hidden_dropout_prob", "resid_dropout",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_probs_dropout_prob", "mlp_dropout", "neftune_noise_alpha",
    "router_aux_loss_coef",
    // What is trained, see ``HFConfig/paddingRow(of:default:)``.
    "pad_token_id",
    // Tokens and drawing text.
    "bos_token_id", "eos_token_id", "sep_token_id", "unk_token_id", "cls_token_id", "mask_token_id",
    "bos_token", "eos_token", "pad_token", "unk_token", "prefix", "decoder_start_token_id", "max_length", "min_length",
    "max_new_tokens",
    "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p",
    "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
]

/// What the keys of other networks are where they change nothing, beside null, false and what is empty.
private let neutralValues: [String: [JSONValue]] = {
    let one: [JSONValue] = [1, 1.0]
    let scales = [
        "partial_rotary_factor", "rotary_pct", "logits_scaling", "logit_scale", "logits_scale", "embedding_multiplier",
        "embedding_scale", "residual_multiplier", "residual_scale", "lm_head_multiplier", "attention_factor", "mscale",
        "scale_emb", "factor",
    ]
    let counts = ["num_experts", "num_local_experts", "n_routed_experts", "num_nextn_predict_layers"]
    let flags = [
        "use_rms_norm", "rms_norm", "use_rope", "use_rotary", "rotary", "causal", "is_causal", "scale_attn_weights",
        "pre_norm", "do_layer_norm_before", "use_swiglu",
    ]
    var values: [String: [JSONValue]] = [:]
    for key in scales { values[key] = one }
    for key in counts { values[key] = [0] }
    for key in flags { values[key] = [true] }
    return values
}()

extension JSONValue {
    /// Whether a key that this program does not read has the value at which it changes nothing.
    func isNeutral(for key: String) -> Bool {
        if self == .null { return true }
        if let neutral = neutralValues[key] {
            // A flag whose neutral value is true is another network's where it is false.
            return neutral.contains(self) || (!neutral.contains(true) && self == .bool(false))
        }
        return switch self {
        case .bool(false): true
        case .array(let elements): elements.isEmpty
        case .object(let object): object.count == 0
        case .string(let text): text.isEmpty
        default: false
        }
    }

    /// The value for an error's line.
    var brief: String {
        let text = text(.compact)
        return text.count > 60 ? text.prefix(60) + "…" : text
    }
}

extension HFConfig {
    /// - Parameters:
    ///   - family: as an error names it.
    ///   - known: keys that its configuration is read from.
    ///   - isNeutral: whether a value of a key that it does not read changes nothing.
    /// - Throws: at the first key that is neither read, nor harmless, nor neutral.
    func refuseUnknown(
        _ family: String, known: Set<String>, isNeutral: (_ key: String, _ value: JSONValue) -> Bool = { $1.isNeutral(for: $0) }
    ) throws(FileError) {
        for (key, value) in json.members where !known.contains(key) && !harmlessKeys.contains(key) {
            guard isNeutral(key, value) else {
                throw failure(
                    key,
                    "\(value.brief) is not known for a \(family) and may change what the network computes; delete the key if "
                        + "it does not")
            }
        }
    }

    /// The row of the embedding that `pad_token_id` names. Transformers makes the table as torch's
    /// `nn.Embedding(vocab_size, hidden_size, padding_idx=pad_token_id)`: no gradient flows from where that row is looked up,
    /// and one below 0 counts from the end (where it names no row, transformers does not make the model).
    ///
    /// - Parameters:
    ///   - vocabulary: rows of the table.
    ///   - default: where the key is absent.
    func paddingRow(of vocabulary: Int, default: Int? = nil) -> Int? {
        let token = json["pad_token_id"] == nil ? `default` : value("pad_token_id")?.integer
        guard let token, token < vocabulary, token >= -vocabulary else { return nil }
        return token < 0 ? vocabulary + token : token
    }
}
