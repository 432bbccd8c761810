/// How a range symmetric about 0, [−m, m], is divided into steps s of b bits; the codes are −2^(b−1) … 2^(b−1)−1.
package enum SymmetricRange: String, Sendable, CaseIterable {
    /// s = m/(2^(b−1)−1), 2^b − 2 steps: both ends are codes. SpinQuant's.
    case restricted
    /// s = m/(2^(b−1)−½), 2^b − 1 steps: the end on the positive side is clamped by half a step. That of compressed-tensors, so
    /// what transformers and vLLM compute.
    case full
}
