internal import ChatTemplates
internal import GGUF
internal import HuggingFace
internal import Support

extension GGUFTokenizer {
    /// The tokenizer of a Hugging Face folder.
    ///
    /// - Parameter rows: of the embedding; those without a token get an unused one.
    /// - Returns: with what the user should know, a sentence each.
    /// - Throws: ``ExportError`` where llama.cpp has none that does the same; ``FileError``.
    static func ofFolder(_ folder: String, rows: Int) throws -> (tokenizer: GGUFTokenizer, notes: [String]) {
        let path = folder + "/tokenizer.json"
        guard PathKind(path) != .absent else {
            throw ExportError(.unfit, folder, "has no tokenizer.json, without which llama.cpp does not load a file")
        }
        let whole = try Tokenizer(folder: folder)
        let document = try InputFile.json(path, limit: Tokenizer.fileLimit)
        guard whole.vocabularySize <= rows else {
            throw ExportError(
                .unfit, path,
                "has \(whole.vocabularySize) tokens, but the model has rows for \(rows); they do not belong together")
        }
        let settings =
            PathKind(folder + "/tokenizer_config.json") == .absent
            ? JSONValue.null : try InputFile.json(folder + "/tokenizer_config.json")
        func id(_ key: String) -> Int? {
            (settings[key]?.string ?? settings[key]?["content"]?.string).flatMap { whole.id(of: $0) }.map(Int.init)
        }
        let (tokens, types) = try self.tokens(document, rows: rows, path)
        let adds = try template(whole, path)
        var ends = try whole.endTokens(ofFolder: folder, try HFConfig(folder + "/config.json"), vocabulary: rows)
            .sorted().map(Int.init)
        let eos = whole.eosToken.map(Int.init) ?? ends.first
        ends.removeAll { $0 == eos }
        let tokenizer = GGUFTokenizer(
            tokens: tokens, types: types, merges: try merges(document, path), pre: try preTokenizer(document, path),
            bos: whole.bosToken.map(Int.init), eos: eos, padding: id("pad_token"),
            unknown: id("unk_token"), furtherEnds: Array(ends.prefix(furtherEnds.count)), addsBos: adds.bos, addsEos: adds.eos,
            chatTemplate: try TemplateSource(folder: folder, settings: settings)?.text)
        var notes = try self.notes(document, tokenizer, path)
        if tokenizer.chatTemplate == nil, TemplateSource.isGiven(in: settings) {
            notes.append("the GGUF file has no chat template, since none of the folder's is named default")
        }
        if ends.count > furtherEnds.count {
            let left = ends.dropFirst(furtherEnds.count).map { tokenizer.tokens[$0] }.joined(separator: ", ")
            notes.append("llama.cpp does not stop at \(left), since a GGUF file names at most three tokens that end a text")
        }
        return (tokenizer, notes)
    }

    private static func preTokenizer(_ document: JSONValue, _ path: String) throws(ExportError) -> GGUFPreTokenizer {
        guard document["model"]?["byte_fallback"]?.bool != true else {
            throw ExportError(
                .unfit, path,
                "is SentencePiece's BPE, for which llama.cpp needs scores that this file does not have; use --format "
                    + "huggingface and llama.cpp's converter with the model's tokenizer.model")
        }
        guard let pre = GGUFPreTokenizer.of(document) else {
            throw ExportError(
                .unfit, "\(path): pre_tokenizer",
                "splits text as no pre-tokenizer of llama.cpp does that is known here ("
                    + GGUFPreTokenizer.known.map(\.name).joined(separator: ", ") + "), and another would give other tokens; "
                    + "use --format huggingface")
        }
        return pre
    }

    /// A token for each row: the vocabulary's, the added ones, and a filler for rows without one.
    private static func tokens(_ document: JSONValue, rows: Int, _ path: String) throws(ExportError) -> ([String], [TokenType])
    {
        var tokens = (0..<rows).map(filler)
        var types = [TokenType](repeating: .unused, count: rows)
        for (token, id) in document["model"]?["vocab"]?.object?.members ?? [] {
            guard let id = id.integer else { continue }
            (tokens[id], types[id]) = (token, .normal)
        }
        for token in document["added_tokens"]?.array ?? [] {
            guard let id = token["id"]?.integer, let content = token["content"]?.string else { continue }
            (tokens[id], types[id]) = (content, token["special"]?.bool == true ? .control : .userDefined)
        }
        guard Set(tokens.map(UTF8Key.init)).count == rows else {
            throw ExportError(
                .unfit, path, "has a token named like \(filler(rows - 1)), which stands for a row without a token")
        }
        return (tokens, types)
    }

    private static func merges(_ document: JSONValue, _ path: String) throws(ExportError) -> [String] {
        var merges: [String] = []
        for (rank, merge) in (document["model"]?["merges"]?.array ?? []).enumerated() {
            let text = merge.string ?? (merge.array ?? []).compactMap(\.string).joined(separator: " ")
            guard text.utf8.count(where: { $0 == UInt8(ascii: " ") }) == 1 else {
                throw ExportError(
                    .unfit, "\(path): merges[\(rank)]",
                    "has a token with a blank, which GGUF cannot express; use --format huggingface")
            }
            merges.append(text)
        }
        return merges
    }

    /// Whether bos and eos are put around a text.
    private static func template(_ whole: Tokenizer, _ path: String) throws(ExportError) -> (bos: Bool, eos: Bool) {
        let (before, after) = whole.template
        guard before.isEmpty || before.map(Optional.some) == [whole.bosToken],
            after.isEmpty || after.map(Optional.some) == [whole.eosToken]
        else {
            throw ExportError(
                .unfit, "\(path): post_processor",
                "puts other tokens around a text than bos and eos, which GGUF cannot express; use --format huggingface")
        }
        return (!before.isEmpty, !after.isEmpty)
    }

    private static func notes(_ document: JSONValue, _ tokenizer: GGUFTokenizer, _ path: String) throws(ExportError) -> [String]
    {
        var notes: [String] = []
        if let normalizer = document["normalizer"], normalizer != .null {
            let steps = normalizer["normalizers"]?.array ?? [normalizer]
            guard steps.allSatisfy({ $0["type"]?.string == "NFC" }) else {
                throw ExportError(
                    .unfit, "\(path): normalizer",
                    "changes text before it is split, which llama.cpp does not do; use --format huggingface")
            }
            notes.append(
                "text that is not in Unicode's composed form (NFC) gets other tokens in llama.cpp, which does not compose it")
        }
        func added(_ keys: [String]) -> String? {
            let chosen = (document["added_tokens"]?.array ?? []).filter { token in keys.contains { token[$0]?.bool == true } }
            return chosen.isEmpty ? nil : chosen.compactMap { $0["content"]?.string }.joined(separator: ", ")
        }
        if let names = added(["lstrip", "rstrip"]) {
            notes.append("white space around these tokens is part of them here, but not in llama.cpp: \(names)")
        }
        if let names = added(["single_word"]) {
            notes.append("these tokens are found only as whole words here, but also within words in llama.cpp: \(names)")
        }
        if tokenizer.eos == nil {
            notes.append("the folder names no token that ends a text: llama.cpp takes token 11 for it")
        }
        return notes
    }
}
