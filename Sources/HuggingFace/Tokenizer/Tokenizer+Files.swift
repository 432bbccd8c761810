package import Support

extension Tokenizer {
    /// The largest tokenizer.json accepted, in bytes.
    package static let fileLimit = 64 << 20
    /// Nothing in a tokenizer.json is nested deeper; regular files reach 7.
    private static let nestingLimit = 16

    /// Reads a tokenizer.json alone, which does not define the tokens that begin and end a text.
    package init(contentsOf path: String) throws(FileError) {
        let document = try InputFile.json(path, limit: Self.fileLimit, depth: Self.nestingLimit)
        do throws(TokenizerError) {
            try self.init(document)
        } catch {
            let place = error.key.isEmpty ? path : "\(path): \(error.key)"
            throw FileError(.malformed, place, error.problem)
        }
    }

    /// Reads a model's folder: tokenizer.json, and the tokens that begin and end a text from tokenizer_config.json or, where
    /// that does not name them, from config.json. Where neither names one that begins a text, the template's counts.
    package init(folder: String) throws(FileError) {
        try self.init(contentsOf: folder + "/tokenizer.json")
        let settings = try Self.optionalDocument(folder + "/tokenizer_config.json")
        let model = try Self.optionalDocument(folder + "/config.json")
        bosToken = try token("bos_token", in: settings)
        eosToken = try token("eos_token", in: settings)
        if bosToken == nil { bosToken = try token("bos_token_id", in: model) ?? templateBegin }
        if eosToken == nil { eosToken = try token("eos_token_id", in: model) }
    }

    private typealias Document = (path: String, content: JSONValue)

    private static func optionalDocument(_ path: String) throws(FileError) -> Document? {
        do throws(FileError) {
            return (path, try InputFile.json(path))
        } catch {
            if error.kind == .missing { return nil }
            throw error
        }
    }

    /// A token given by name (`"<s>"`, or an object with `content`), by id, or by a list of ids, of which the first counts.
    private func token(_ key: String, in document: Document?) throws(FileError) -> Int32? {
        guard let document, let value = document.content[key], value != .null else { return nil }
        let place = "\(document.path): \(key)"
        if let name = value.string ?? value["content"]?.string {
            guard let id = id(of: name) else {
                throw FileError(.malformed, place, "\"\(name)\" is not in the vocabulary")
            }
            return id
        }
        guard let id = value.integer ?? value.integers?.first else {
            throw FileError(.malformed, place, "is neither a token nor an id")
        }
        guard (0..<vocabularySize).contains(id) else {
            throw FileError(.malformed, place, "the id \(id) is outside the vocabulary of \(vocabularySize)")
        }
        return Int32(id)
    }
}
