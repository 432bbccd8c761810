package import Support

extension Tokenizer {
    /// The tokens that end a text: those of generation_config.json or, where that names none, of config.json or the tokenizer.
    ///
    /// - Parameters:
    ///   - folder: the model's.
    ///   - vocabulary: the model's number of tokens.
    /// - Throws: ``FileError`` for an ID that is not a token of the model.
    package func endTokens(ofFolder folder: String, _ config: HFConfig, vocabulary: Int) throws(FileError) -> Set<Int32> {
        let name = folder + "/generation_config.json"
        for file in [PathKind(name) == .absent ? nil : try HFConfig(name), config].compactMap(\.self) {
            guard let value = file.value("eos_token_id") else { continue }
            guard let ids = value.integer.map({ [$0] }) ?? value.integers, ids.allSatisfy((0..<vocabulary).contains)
            else { throw file.failure("eos_token_id", "is neither a token of the model nor a list of its tokens") }
            guard !ids.isEmpty else { continue }
            return Set(ids.map(Int32.init))
        }
        return Set([eosToken].compactMap(\.self))
    }
}
