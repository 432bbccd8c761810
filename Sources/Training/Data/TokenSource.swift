package import HuggingFace

/// The tokens of a data file.
///
/// No special token is added to text, except an end-of-text token between the documents of a .jsonl; see `BeginOfSequence`
/// for the beginnings of windows.
package struct TokenSource: Sendable {
    /// What the tokens were read from.
    package let path: String
    package let tokens: [Int32]
    /// Stretches of `tokens` that belong together, in order; no window spans two of them.
    package let documents: [Range<Int>]

    /// The largest text accepted, in bytes: it and its tokens are held in memory.
    static let textLimit = 1 << 30

    /// Tokens that are at hand already, as one document. - Precondition: there is at least one.
    package init(tokens: [Int32], name: String) {
        precondition(!tokens.isEmpty, "no tokens")
        self.init(path: name, tokens: tokens, documents: [tokens.indices])
    }

    private init(path: String, tokens: [Int32], documents: [Range<Int>]) {
        self.path = path
        self.tokens = tokens
        self.documents = documents
    }

    /// Reads a file by its ending:
    ///
    /// - `.txt`: the whole file, byte for byte, is one document.
    /// - `.jsonl`: each line is an object whose `text` is a document; blank lines are skipped. The documents become one
    ///   stream, with the tokenizer's end-of-text token between them if it has one, else with nothing between them.
    /// - `.safetensors`: the rows of the integers `input_ids`, [n, T], are documents of their own.
    ///
    /// - Parameters:
    ///   - tokenizer: called only where there is text to encode.
    ///   - vocabularySize: ids the model knows: 0 ..< vocabularySize.
    /// - Throws: `DataError`, `HuggingFaceError`.
    package init(contentsOf path: String, vocabularySize: Int, tokenizer: () throws -> Tokenizer) throws {
        if path.hasSuffix(".safetensors") {
            self = try Self.rows(path)
        } else if path.hasSuffix(".txt") {
            self = try Self.stream(path, [Self.text(path)], tokenizer())
        } else if path.hasSuffix(".jsonl") {
            self = try Self.stream(path, Self.documents(inLinesOf: path), tokenizer())
        } else {
            throw DataError.unknownFormat(path: path)
        }
        guard !tokens.isEmpty else { throw DataError.empty(path: path) }
        if let position = tokens.firstIndex(where: { $0 < 0 || Int($0) >= vocabularySize }) {
            throw DataError.tokenOutside(
                path: path, position: position, token: Int(tokens[position]), vocabularySize: vocabularySize)
        }
    }

    private static func stream(_ path: String, _ texts: [String], _ tokenizer: Tokenizer) -> TokenSource {
        var tokens: [Int32] = []
        for text in texts {
            let encoded = tokenizer.encode(text, addSpecialTokens: false)
            if !tokens.isEmpty, !encoded.isEmpty, let separator = tokenizer.eosToken { tokens.append(separator) }
            tokens += encoded
        }
        return TokenSource(path: path, tokens: tokens, documents: tokens.isEmpty ? [] : [tokens.indices])
    }

    private static func bytes(_ path: String) throws -> [UInt8] {
        let file = try InputFile(path)
        guard file.size <= textLimit else { throw DataError.tooLarge(path: path, bytes: file.size, limit: textLimit) }
        return try file.bytes(0..<file.size)
    }

    private static func text(_ path: String) throws -> String {
        guard let text = String(validating: try bytes(path), as: UTF8.self) else { throw DataError.notUTF8(path: path) }
        return text
    }

    private static func documents(inLinesOf path: String) throws -> [String] {
        var documents: [String] = []
        let blanks: Set<UInt8> = [0x20, 0x09, 0x0D]
        for (i, line) in try bytes(path).split(separator: 0x0A, omittingEmptySubsequences: false).enumerated()
        where !line.allSatisfy(blanks.contains) {
            let object: JSONValue
            do throws(JSONError) {
                object = try JSONValue(parsing: Array(line))
            } catch {
                throw DataError.badLine(path: path, line: i + 1, problem: "byte \(error.offset): \(error.problem)")
            }
            guard let text = object["text"]?.string else {
                throw DataError.badLine(path: path, line: i + 1, problem: "is not an object with a string \"text\"")
            }
            documents.append(text)
        }
        return documents
    }

    private static func rows(_ path: String) throws -> TokenSource {
        let name = "input_ids"
        let file = try SafetensorsFile(path)
        let info = try file.info(name)
        guard info.type == .i32 || info.type == .i64 else {
            throw DataError.badTensor(path: path, problem: "has type \(info.type.rawValue) instead of I32 or I64")
        }
        guard info.shape.count == 2 else {
            throw DataError.badTensor(path: path, problem: "has shape \(info.shape) instead of [n, T]")
        }
        let integers = try file.readInts(name)
        let tokens = integers.map { Int32(exactly: $0) ?? -1 }
        if let position = tokens.firstIndex(where: { $0 < 0 }) {
            throw DataError.badTensor(path: path, problem: "\(integers[position]) at position \(position) is no token id")
        }
        let width = info.shape[1]
        let starts = stride(from: 0, to: tokens.count, by: max(width, 1))
        return TokenSource(path: path, tokens: tokens, documents: starts.map { $0..<$0 + width })
    }
}
