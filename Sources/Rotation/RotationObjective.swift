/// What learned rotations minimize.
package enum RotationObjective: String, Sendable, CaseIterable {
    /// Divergence from the full-precision network's predictions.
    case divergence = "kl"
    /// Cross-entropy of the next token (SpinQuant, arXiv 2405.16406).
    case crossEntropy = "ce"
}
