internal import HuggingFace
internal import Support

/// Rules of generation_config.json that change which text other programs make of a prompt, and that this program does not
/// follow: it takes the most likely token, or draws one as `generate.*` says.
enum GenerationRules {
    /// By key, the number that stands for no rule; nil where any number is one.
    private static let rules: KeyValuePairs<String, Double?> = [
        "repetition_penalty": 1, "no_repeat_ngram_size": 0, "min_length": 0, "min_new_tokens": 0, "suppress_tokens": nil,
        "begin_suppress_tokens": nil, "bad_words_ids": nil, "forced_bos_token_id": nil, "forced_eos_token_id": nil,
    ]

    /// The keys of such rules in a model's folder.
    ///
    /// - Throws: ``FileError`` where the file cannot be read.
    static func keys(ofFolder folder: String) throws(FileError) -> [String] {
        let path = folder + "/generation_config.json"
        guard PathKind(path) != .absent else { return [] }
        let config = try HFConfig(path)
        var result: [String] = []
        for (key, none) in rules {
            guard let value = config.value(key), value.array?.isEmpty != true else { continue }
            if let none, value.number == none { continue }
            result.append(key)
        }
        return result
    }
}
