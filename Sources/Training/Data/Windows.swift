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
    private let tokens: [Int32]
    private let begin: Int32?
    private let starts: [Int]

    package var count: Int { starts.count }
    /// Text tokens in a window: T, or T − 1 behind a begin token.
    private var textLength: Int { begin == nil ? length : length - 1 }

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
        begin = bos == .sequence ? bosToken : nil
        let textLength = begin == nil ? length : length - 1
        var starts: [Int] = []
        for document in source.documents {
            var start = document.lowerBound
            while start + textLength <= document.upperBound, starts.count < limit {
                starts.append(start)
                start += textLength
            }
        }
        guard !starts.isEmpty || limit <= 0 else {
            throw .tooShort(path: source.path, longest: source.documents.map(\.count).max() ?? 0, needed: textLength)
        }
        self.length = length
        self.starts = starts
        tokens = source.tokens
    }

    /// The tokens of a window.
    package subscript(index: Int) -> [Int32] {
        let text = tokens[starts[index]..<starts[index] + textLength]
        return begin.map { [$0] + text } ?? Array(text)
    }
}
