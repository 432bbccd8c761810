package import HuggingFace
internal import Support

/// How the lines of a `.jsonl` are read.
package struct JSONLines: Sendable, Equatable {
    /// What is done with a line that is no object with that field as a text (`data.bad_lines`).
    package enum BadLines: String, CaseIterable, Sendable {
        case fail
        /// It is left out, and counted.
        case skip
    }

    /// The member that holds a document.
    package var field = "text"
    package var badLines = BadLines.fail

    package init(field: String = "text", badLines: BadLines = .fail) {
        self.field = field
        self.badLines = badLines
    }
}

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
    /// SHA-256 of the file, hexadecimal; nil for tokens that are from no file.
    package private(set) var sha256: String?
    /// Bytes of text without a token, of how many.
    package private(set) var lost = LostText()
    package private(set) var textBytes = 0
    /// Lines of a .jsonl left out, and why the first of them.
    package private(set) var skippedLines = 0
    package private(set) var firstSkipped: String?

    /// Tokens that are in memory already, as one document. - Precondition: there is at least one.
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
    /// - `.txt`: the whole file, byte for byte but for a byte-order mark, is one document.
    /// - `.jsonl`: each line is an object of which one field is a document; blank lines are skipped. The documents become one
    ///   stream, with the tokenizer's end-of-text token between them if it has one, else with nothing between them.
    /// - `.safetensors`: the rows of the integers `input_ids`, [n, T], are documents of their own.
    ///
    /// - Parameters:
    ///   - tokenizer: called only where there is text to encode.
    ///   - vocabularySize: ids the model knows: 0 ..< vocabularySize.
    /// - Throws: `DataError`, `FileError`.
    package init(
        contentsOf path: String, lines: JSONLines = JSONLines(), vocabularySize: Int, tokenizer: () throws -> Tokenizer
    ) throws {
        let file = try DataFile(path)
        switch file.format {
        case .tokens: self = try Self.rows(path)
        case .text:
            guard let text = String(validating: file.bytes, as: UTF8.self) else { throw DataError.notUTF8(path: path) }
            self = try Self.stream(path, [text], tokenizer())
        case .jsonLines:
            let read = try Self.documents(inLinesOf: file, lines)
            self = try Self.stream(path, read.documents, tokenizer())
            (skippedLines, firstSkipped) = (read.skipped, read.firstSkipped)
        }
        sha256 = file.sha256
        guard 2 * lost.dropped <= textBytes else {
            throw DataError.mostlyDropped(path: path, dropped: lost.dropped, bytes: textBytes)
        }
        guard !tokens.isEmpty else { throw DataError.empty(path: path, skippedLines: skippedLines, first: firstSkipped) }
        if let position = tokens.firstIndex(where: { $0 < 0 || Int($0) >= vocabularySize }) {
            throw DataError.tokenOutside(
                path: path, position: position, token: Int(tokens[position]), vocabularySize: vocabularySize)
        }
    }

    private static func stream(_ path: String, _ texts: [String], _ tokenizer: Tokenizer) -> TokenSource {
        var tokens: [Int32] = []
        var lost = LostText()
        for text in texts {
            let encoded = tokenizer.encode(text)
            if !tokens.isEmpty, !encoded.ids.isEmpty, let separator = tokenizer.eosToken { tokens.append(separator) }
            tokens += encoded.ids
            lost += encoded.lost
        }
        var source = TokenSource(path: path, tokens: tokens, documents: tokens.isEmpty ? [] : [tokens.indices])
        (source.lost, source.textBytes) = (lost, texts.reduce(0) { $0 + $1.utf8.count })
        return source
    }

    private static func documents(
        inLinesOf file: DataFile, _ lines: JSONLines
    ) throws -> (documents: [String], skipped: Int, firstSkipped: String?) {
        var documents: [String] = []
        var skipped = 0, firstSkipped: String?
        let blanks: Set<UInt8> = [0x20, 0x09, 0x0D]
        for (i, line) in file.bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated()
        where !line.allSatisfy(blanks.contains) {
            do throws(LineError) {
                documents.append(try document(in: Array(line), lines.field))
            } catch {
                let failure = DataError.badLine(path: file.path, line: i + 1, problem: error.problem)
                guard lines.badLines == .skip else { throw failure }
                skipped += 1
                firstSkipped = firstSkipped ?? "line \(i + 1): \(error.problem)"
            }
        }
        return (documents, skipped, firstSkipped)
    }

    private struct LineError: Error { let problem: String }

    private static func document(in line: [UInt8], _ field: String) throws(LineError) -> String {
        let object: JSONValue
        do throws(JSONError) {
            object = try JSONValue(parsing: line)
        } catch {
            throw LineError(problem: "byte \(error.offset): \(error.problem)")
        }
        if let text = object[field]?.string { return text }
        let names = object.object?.members.filter { $0.value.string != nil }.map { "\"\($0.key)\"" } ?? []
        let hint = names.isEmpty ? "" : "; data.field can name one of its texts: \(names.prefix(5).joined(separator: ", "))"
        throw LineError(problem: "is not an object with a string \"\(field)\"\(hint)")
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
        guard !info.shape.contains(0) else {
            throw DataError.badTensor(path: path, problem: "has shape \(info.shape), which holds no token")
        }
        let integers = try file.readInts(name)
        let tokens = integers.map { Int32(exactly: $0) ?? -1 }
        if let position = tokens.firstIndex(where: { $0 < 0 }) {
            throw DataError.badTensor(path: path, problem: "\(integers[position]) at position \(position) is not a token id")
        }
        let width = info.shape[1]
        let starts = stride(from: 0, to: tokens.count, by: width)
        return TokenSource(path: path, tokens: tokens, documents: starts.map { $0..<$0 + width })
    }
}
