package import Models

/// Where R1 is applied in a training step: in the weights, once a step, or in the activations, for every token.
///
/// A matrix [out, h] costs out·h² multiply-adds to rotate; the activations at its site cost T·h² forward and T·h² backward.
/// R is constant within a step, so each site takes the cheaper of the two.
package struct RotationPlan: Sendable, Equatable {
    package let sides: RotatedSides

    /// The number of tokens to plan for: those of a replica in a step, where fewer than four replicas count as four.
    ///
    /// Rotating weights or activations gives the same numbers except for rounding, which quantizers amplify. With one common
    /// plan, up to four replicas learn the same as one. This costs one replica a few percent of a step.
    package static func tokens(perStep tokens: Int, replicas: Int) -> Int { tokens / max(4, replicas) }

    /// - Parameters:
    ///   - tokens: see ``tokens(perStep:replicas:)``.
    ///   - weightsQuantized: quantized weights must be rotated as weights.
    ///   - storage: rotated weights would be float32, so weights stored in bfloat16 or read from their file are not
    ///     rotated unless they are quantized.
    package init(_ architecture: Architecture, tokens: Int, weightsQuantized: Bool, storage: WeightStorage = .f32) {
        guard !weightsQuantized, storage == .f32 else {
            sides = weightsQuantized ? .all : .none
            return
        }
        let vocabulary = architecture.vocabularySize
        sides = RotatedSides(
            HookPoint.allCases.filter { point in
                switch point {
                // No gradient flows back from the embedding.
                case .embedding: return vocabulary <= tokens
                case .headInput: return vocabulary <= 2 * tokens
                default:
                    let rows = architecture.blocks.map { $0.rotatedRows(point) }.max() ?? 0
                    return (point.readsResidual || point.writesResidual) && rows <= 2 * tokens
                }
            })
    }
}
