internal import GGUF
internal import HuggingFace
internal import Support

/// A byte-level BPE tokenizer as a GGUF file has it (`tokenizer.ggml.model` is `gpt2`).
struct GGUFTokenizer: Equatable, Sendable {
    enum TokenType: Int32, Sendable {
        case normal = 1, unknown = 2, control = 3, userDefined = 4, unused = 5, byte = 6
    }

    /// One for every row of the embedding.
    var tokens: [String]
    var types: [TokenType]
    /// Two tokens with a blank between, the first to be merged first.
    var merges: [String]
    var pre: GGUFPreTokenizer
    var bos, eos, padding, unknown: Int?
    /// Tokens besides ``eos`` that end a text, in ascending order: those that llama.cpp knows as the ends of a message and of a
    /// turn. It stops at all of them. It takes the latter to close a turn, so that the former is given first.
    var furtherEnds: [Int]
    var addsBos, addsEos: Bool
    var chatTemplate: String?

    private static let prefix = "tokenizer.ggml."
    /// Where a file has ``furtherEnds``.
    static let furtherEnds = ["eom", "eot"]

    /// What a row without a token is called, as llama.cpp's converter does.
    static func filler(_ id: Int) -> String { "[PAD\(id)]" }

    /// The values of a file's header.
    var values: [(key: String, value: GGUFValue)] {
        var values: [(key: String, value: GGUFValue)] = [
            (Self.prefix + "model", .string("gpt2")), (Self.prefix + "pre", .string(pre.name)),
            (Self.prefix + "tokens", .strings(tokens)),
            (Self.prefix + "token_type", .integers(types.map(\.rawValue))), (Self.prefix + "merges", .strings(merges)),
        ]
        for (name, id) in [("bos", bos), ("eos", eos), ("padding", padding), ("unknown", unknown)] {
            if let id { values.append((Self.prefix + name + "_token_id", .uint32(UInt32(id)))) }
        }
        for (name, id) in zip(Self.furtherEnds, furtherEnds) {
            values.append((Self.prefix + name + "_token_id", .uint32(UInt32(id))))
        }
        values.append((Self.prefix + "add_bos_token", .bool(addsBos)))
        values.append((Self.prefix + "add_eos_token", .bool(addsEos)))
        if let chatTemplate { values.append(("tokenizer.chat_template", .string(chatTemplate))) }
        return values
    }
}

// MARK: - From a GGUF file

extension GGUFTokenizer {
    /// - Throws: ``FileError`` where something is missing, contradicts itself, or is of a kind that is not read here.
    init(_ file: GGUFFile) throws(FileError) {
        func value<Value>(_ key: String, _ kind: String, _ convert: (GGUFValue) -> Value?) throws(FileError) -> Value? {
            guard let value = file[Self.prefix + key] else { return nil }
            guard let converted = convert(value) else { throw file.failure(Self.prefix + key, "is not \(kind)") }
            return converted
        }
        func required<Value>(_ key: String, _ kind: String, _ convert: (GGUFValue) -> Value?) throws(FileError) -> Value {
            guard let found = try value(key, kind, convert) else {
                throw file.failure(Self.prefix + key, "is missing; \(kind) is expected")
            }
            return found
        }
        let model = try required("model", "a string", \.string)
        guard model == "gpt2" else {
            throw file.failure(Self.prefix + "model", "'\(model)' is not supported; only 'gpt2', byte-level BPE, is")
        }
        let name = try required("pre", "a string", \.string)
        guard let pre = GGUFPreTokenizer.named(name) else {
            let known = GGUFPreTokenizer.known.map(\.name).joined(separator: ", ")
            throw file.failure(Self.prefix + "pre", "'\(name)' is not supported; supported are \(known)")
        }
        let tokens = try required("tokens", "a list of strings", \.strings)
        let codes = try value("token_type", "a list of integers", \.integers) ?? tokens.map { _ in 1 }
        let types = try Self.types(codes, of: tokens, file)
        func id(_ key: String) throws(FileError) -> Int? {
            guard let id = try value(key + "_token_id", "an integer", \.integer) else { return nil }
            guard tokens.indices.contains(id) else {
                throw file.failure(Self.prefix + key + "_token_id", "\(id) is outside the \(tokens.count) tokens")
            }
            return id
        }
        (self.tokens, self.types, self.pre) = (tokens, types, pre)
        merges = try required("merges", "a list of strings", \.strings)
        // llama.cpp stops at the ends of a turn and of a message, too, also where there is no other end.
        let (end, endOfTurn, endOfMessage) = (try id("eos"), try id("eot"), try id("eom"))
        (bos, eos) = (try id("bos"), end ?? endOfTurn ?? endOfMessage)
        (padding, unknown) = (try id("padding"), try id("unknown"))
        furtherEnds = Set([endOfTurn, endOfMessage].compactMap(\.self)).filter { [eos] in $0 != eos }.sorted()
        addsBos = try value("add_bos_token", "true or false", \.bool) ?? pre.addsBos
        addsEos = try value("add_eos_token", "true or false", \.bool) ?? false
        chatTemplate = file["tokenizer.chat_template"]?.string
        if let missing = addsBos && bos == nil ? "bos" : addsEos && end == nil ? "eos" : nil {
            throw file.failure(Self.prefix + missing + "_token_id", "is missing, but the file says that every text has it")
        }
    }

    private static func types(_ codes: [Int], of tokens: [String], _ file: GGUFFile) throws(FileError) -> [TokenType] {
        var types: [TokenType] = []
        for code in codes {
            guard let type = Int32(exactly: code).flatMap(TokenType.init) else {
                throw file.failure(prefix + "token_type", "\(code) is not a type of token (1 to 6)")
            }
            types.append(type)
        }
        guard types.count == tokens.count else {
            throw file.failure(prefix + "token_type", "has \(types.count) entries for \(tokens.count) tokens")
        }
        guard Set(tokens.map(UTF8Key.init)).count == tokens.count else {
            throw file.failure(prefix + "tokens", "has a token twice")
        }
        // In byte-level BPE a token that is unknown, a byte or of other use is one like the rest.
        for (id, type) in types.enumerated() {
            let isOrdinary = type == .unknown || type == .byte || (type == .unused && tokens[id] != filler(id))
            if isOrdinary { types[id] = .normal }
        }
        return types
    }
}

// MARK: - To a Hugging Face folder

extension GGUFTokenizer {
    /// Writes tokenizer.json and tokenizer_config.json.
    func write(to writer: HFFolderWriter) throws(FileError) {
        try writer.write(document.text(.compact, sortedKeys: false) + "\n", as: "tokenizer.json")
        var settings: JSONValue = ["tokenizer_class": "PreTrainedTokenizerFast"]
        if case .object(var object) = settings {
            for (key, id) in [("bos_token", bos), ("eos_token", eos), ("pad_token", padding), ("unk_token", unknown)] {
                if let id { object[key] = .string(tokens[id]) }
            }
            if let chatTemplate { object["chat_template"] = .string(chatTemplate) }
            settings = .object(object)
        }
        try writer.write(settings.text() + "\n", as: "tokenizer_config.json")
    }

    private var document: JSONValue {
        var vocabulary = JSONObject()
        var added: [JSONValue] = []
        for (id, token) in tokens.enumerated() where types[id] != .unused {
            _ = vocabulary.insert(token, .integer(id))
            guard [.control, .userDefined].contains(types[id]) else { continue }
            let isSpecial = types[id] == .control
            added.append([
                "id": .integer(id), "content": .string(token), "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": .bool(isSpecial),
            ])
        }
        return [
            "version": "1.0", "truncation": nil, "padding": nil, "added_tokens": .array(added), "normalizer": nil,
            "pre_tokenizer": pre.json, "post_processor": template,
            "decoder": ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true],
            "model": [
                "type": "BPE", "dropout": nil, "unk_token": nil,
                "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": .bool(pre.ignoresMerges), "vocab": .object(vocabulary),
                "merges": .array(merges.map { .string($0) }),
            ],
        ]
    }

    /// What is put around a text; null for nothing.
    private var template: JSONValue {
        let begin = addsBos ? bos : nil, end = addsEos ? eos : nil
        guard begin != nil || end != nil else { return .null }
        func piece(_ id: Int) -> JSONValue { ["SpecialToken": ["id": .string(tokens[id]), "type_id": 0]] }
        let text: JSONValue = ["Sequence": ["id": "A", "type_id": 0]]
        var special = JSONObject()
        for id in [begin, end].compactMap(\.self) {
            special[tokens[id]] = ["id": .string(tokens[id]), "ids": [.integer(id)], "tokens": [.string(tokens[id])]]
        }
        let single = [begin.map(piece), text, end.map(piece)].compactMap(\.self)
        return [
            "type": "TemplateProcessing", "single": .array(single),
            "pair": .array(single + [["Sequence": ["id": "B", "type_id": 1]]]),
            "special_tokens": .object(special),
        ]
    }
}
