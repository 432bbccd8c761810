internal import Support

/// Whether a window begins with the token that begins a text (`data.bos`).
package enum BeginOfSequence: String, CaseIterable, Sendable {
    /// Windows hold text only.
    case none
    /// Every window of T tokens is that token and T − 1 tokens of text.
    case sequence
}

/// Data cut into consecutive windows of equal length, as GPTQ and SpinQuant cut it: what is left at the end of a document
/// and is shorter than a window is not used.
package struct Windows: Sendable {
    /// T, the begin token included.
    package let length: Int
    /// What they were cut from.
    package let source: TokenSource
    private let begin: Int32?
    private let starts: [Int]
    /// Windows whose text began with the begin token that is put in front of it: there it was left out.
    package let begunAlready: Int

    package var count: Int { starts.count }
    /// Text tokens in a window: T, or T − 1 behind a begin token.
    private var textLength: Int { begin == nil ? length : length - 1 }

    /// Behind the begin token that `bos` asks for, text that begins with one continues after it: a network has seen one, never
    /// two.
    ///
    /// - Parameters:
    ///   - length: T ≥ 2.
    ///   - maximum: the model's longest sequence.
    ///   - limit: use no more windows than this, from the beginning.
    /// - Throws: a length the model cannot take, a begin token that is wanted and not there, or too little text.
    package init(
        _ source: TokenSource, length: Int, maximum: Int, bos: BeginOfSequence = .none, bosToken: Int32? = nil,
        limit: Int = .max
    ) throws(DataError) {
        guard length >= 2 else { throw .sequenceTooShort(length: length) }
        guard length <= maximum else { throw .sequenceTooLong(length: length, maximum: maximum) }
        if bos == .sequence, bosToken == nil { throw .noBeginToken(path: source.path) }
        let begin = bos == .sequence ? bosToken : nil
        let textLength = begin == nil ? length : length - 1
        var starts: [Int] = []
        var begun = 0, longest = 0
        for document in source.documents {
            var start = document.lowerBound
            while starts.count < limit {
                let text = source.tokens[start..<document.upperBound].drop { $0 == begin }
                longest = max(longest, text.count)
                guard text.count >= textLength else { break }
                if text.startIndex > start { begun += 1 }
                starts.append(text.startIndex)
                start = text.startIndex + textLength
            }
        }
        guard !starts.isEmpty || limit <= 0 else {
            throw .tooShort(path: source.path, longest: longest, needed: textLength)
        }
        self.begin = begin
        self.length = length
        self.starts = starts
        self.source = source
        begunAlready = begun
    }

    /// The tokens of a window.
    package subscript(index: Int) -> [Int32] {
        let text = source.tokens[starts[index]..<starts[index] + textLength]
        return begin.map { [$0] + text } ?? Array(text)
    }

    /// SHA-256 of all windows' tokens, in order, as little-endian 32-bit integers behind the length T; hexadecimal.
    package func digest() -> String {
        var hash = SHA256()
        hash.update(Array("\(length)\n".utf8))
        for index in 0..<count {
            hash.update(self[index].map(\.littleEndian).withUnsafeBytes { Array($0) })
        }
        return hexadecimal(hash.finalize())
    }
}
