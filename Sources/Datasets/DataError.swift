package import Support

/// Training or evaluation data that cannot be used; files that cannot be read at all throw `FileError`.
package enum DataError: ReportableError, Equatable {
    /// The file's ending is not a known one.
    case unknownFormat(path: String)
    /// It is named like text and is something else.
    case notText(path: String, Impostor)
    case tooLarge(path: String, bytes: Int, limit: Int)
    /// There is no token in the file.
    case empty(path: String, skippedLines: Int = 0, first: String? = nil)
    /// More than half of the text has no token.
    case mostlyDropped(path: String, dropped: Int, bytes: Int)
    case notUTF8(path: String)
    /// A line of a JSON-lines file, counted from 1.
    case badLine(path: String, line: Int, problem: String)
    case badTensor(path: String, problem: String)
    /// A token the model does not have, at a position of the whole data.
    case tokenOutside(path: String, position: Int, token: Int, vocabularySize: Int)
    /// No document is as long as a window.
    case tooShort(path: String, longest: Int, needed: Int)
    case sequenceTooShort(length: Int)
    case sequenceTooLong(length: Int, maximum: Int)
    /// `data.bos` asks for a token the tokenizer lacks.
    case noBeginToken(path: String)
    /// The tokenizer's token that begins a text is none of the model's.
    case beginTokenOutside(path: String, token: Int, vocabularySize: Int)

    package var exitCode: ExitCode {
        switch self {
        case .sequenceTooShort, .sequenceTooLong, .noBeginToken: .configuration
        default: .data
        }
    }

    /// One line, whatever the names and contents of files hold.
    package var description: String { message.singleLine }

    private var message: String {
        switch self {
        case .unknownFormat(let path):
            "\(path): the file's ending is not .txt, .jsonl or .safetensors; rename it to say what it is"
        case .tooLarge(let path, let bytes, let limit):
            "\(path): has \(bytes) bytes of text; at most \(limit) are accepted; store token ids as .safetensors instead"
        case .notText(let path, let impostor): "\(path): \(impostor.problem)"
        case .empty(let path, let skipped, let first):
            "\(path): contains no text" + (first.map { "; \(counted(skipped, "line")) skipped, the first of them \($0)" } ?? "")
        case .mostlyDropped(let path, let dropped, let bytes):
            "\(path): \(dropped) of \(bytes) bytes of the text have no token in the model's vocabulary; "
                + "give text the tokenizer was made for, or the complete tokenizer.json"
        case .notUTF8(let path): "\(path): is not UTF-8 text"
        case .badLine(let path, let line, let problem): "\(path): line \(line): \(problem)"
        case .badTensor(let path, let problem): "\(path): tensor input_ids: \(problem)"
        case .tokenOutside(let path, let position, let token, let size):
            "\(path): token \(token) at position \(position) is outside the model's vocabulary of \(size)"
        case .tooShort(let path, let longest, let needed):
            "\(path): too little text for one window: \(counted(longest, "token")) where \(needed) are needed; "
                + "give more text or a smaller data.sequence_length"
        case .sequenceTooShort(let length): "data.sequence_length: \(length) is too short; a window needs at least 2 tokens"
        case .sequenceTooLong(let length, let maximum):
            "data.sequence_length: \(length) is more than the model's maximum of \(maximum)"
        case .beginTokenOutside(let path, let token, let size):
            "\(path): the tokenizer's token that begins a text, \(token), is outside the model's vocabulary of \(size); "
                + "tokenizer and model do not belong together"
        case .noBeginToken(let path):
            "data.bos: sequence, but the model of \(path) names no token that begins a text; set data.bos to none"
        }
    }
}
