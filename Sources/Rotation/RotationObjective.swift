/// What learned rotations minimize.
package enum RotationObjective: String, Sendable, CaseIterable {
    /// Divergence from the full-precision network's predictions.
    case divergence = "kl"
    /// Cross-entropy of the next token (SpinQuant, arXiv 2405.16406).
    case crossEntropy = "ce"
    /// A loss of rows stored in one pass, without a backward pass: see ``RowLoss``.
    case range, whip, kurtosis
    /// Mean kurtosis of the rotated weights (OptRot, arXiv 2512.24124): no text at all.
    case weights

    /// Whether a step runs the network, forward and backward.
    package var runsNetwork: Bool { self == .crossEntropy || self == .divergence }
    /// Whether steps look at rows that one pass has stored.
    package var readsStoredRows: Bool { self == .range || self == .whip || self == .kurtosis }

    /// Number of tokens of each stored sequence that a step uses: the same for each, at least one.
    ///
    /// - Parameter tokens: number of tokens that a step should look at, over all sequences.
    package static func tokens(_ tokens: Int, ofEach sequences: Int, length: Int) -> Int {
        min(length, max(1, tokens / max(1, sequences)))
    }
}
