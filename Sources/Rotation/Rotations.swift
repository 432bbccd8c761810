package import TensorCore

/// The rotations that are merged into a model's weights: R1 of the residual stream, R2 of each layer's values (SpinQuant, arXiv
/// 2405.16406, section 3). They are float32, whatever type the model is stored in.
package struct Rotations: Sendable {
    /// [h, h], or nil for the identity.
    package var r1: Tensor?
    /// One [d, d] per layer, or nil for identities.
    package var r2: [Tensor]?

    package init(r1: Tensor?, r2: [Tensor]?) {
        self.r1 = r1
        self.r2 = r2
    }

    package static let none = Rotations(r1: nil, r2: nil)

    /// Random Hadamard rotations H·diag(±1)/√n: one stream of signs for R1, one for each R2.
    ///
    /// Where n has no Hadamard matrix, H is block-diagonal with the largest block that divides n.
    package static func randomHadamard(
        hidden: Int?, head: Int?, layers: Int, seed: UInt64
    ) -> Rotations {
        func rotation(_ n: Int, _ stream: UInt64) -> Tensor {
            var random = RandomStream(seed: seed, stream: stream)
            return HadamardTransform(columns: n).randomized(from: &random)
        }
        return Rotations(
            r1: hidden.map { rotation($0, RandomPurpose.r1) },
            r2: head.map { d in (0..<layers).map { rotation(d, RandomPurpose.r2 + UInt64($0)) } })
    }

    /// Random streams, one for each purpose, so that no two draws share one.
    private enum RandomPurpose {
        static let r1: UInt64 = 0x5231
        static let r2: UInt64 = 0x5232_0000
    }
}
