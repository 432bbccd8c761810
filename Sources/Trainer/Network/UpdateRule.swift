internal import CKernels
internal import TensorCore

/// How a gradient changes a weight.
package enum UpdateRule: Sendable, Equatable {
    /// Moments of the gradient with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101).
    case adamW(beta1: Float, beta2: Float, epsilon: Float)
    /// A running sum of gradients (Polyak 1964; Sutskever et al., ICML 2013), b ← μ·b + g + decay·w, w ← w − rate·b.
    case momentum(Float)

    /// Numbers kept per weight.
    var statesPerWeight: Int {
        switch self {
        case .adamW: 2
        case .momentum: 1
        }
    }

    /// The part of a step that is common to all weights.
    struct Step {
        let rate: Float
        /// Factor on every gradient.
        let gradientScale: Float
        /// Factors on the moments of AdamW.
        fileprivate let corrections: (Float, Float)
    }

    /// - Parameter number: the step's, counted from 1.
    func step(number: Int, rate: Float, gradientScale: Float) -> Step {
        var corrections: (Float, Float) = (1, 1)
        if case .adamW(let beta1, let beta2, _) = self {
            corrections = (Self.biasCorrection(beta1, number), Self.biasCorrection(beta2, number))
        }
        return Step(rate: rate, gradientScale: gradientScale, corrections: corrections)
    }

    /// Updates `count` weights. All pointers are to the first one.
    func apply(
        _ step: Step, decay: Float, weights: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>,
        state: [UnsafeMutablePointer<Float>], count: Int
    ) {
        switch self {
        case .adamW(let beta1, let beta2, let epsilon):
            let constants = ck_adamw(
                rate: step.rate, beta1: beta1, beta2: beta2, epsilon: epsilon, decay: decay, gradient_scale: step.gradientScale,
                correction1: step.corrections.0, correction2: step.corrections.1)
            let (first, second) = (state[0], state[1])
            Team.shareElements(count) {
                let i = $0.lowerBound
                ck_adamw_step(weights + i, gradients + i, first + i, second + i, $0.count, constants)
            }
        case .momentum(let momentum):
            let sum = state[0]
            Team.shareElements(count) {
                let i = $0.lowerBound
                ck_momentum_step(
                    weights + i, gradients + i, sum + i, $0.count, step.rate, momentum, decay, step.gradientScale)
            }
        }
    }

    /// 1/(1 − βᵗ), which corrects the bias of a moment that began at zero.
    private static func biasCorrection(_ beta: Float, _ t: Int) -> Float {
        var power = 1.0
        for _ in 0..<t where power > 1e-12 { power *= Double(beta) }
        return Float(1 / (1 - power))
    }
}
