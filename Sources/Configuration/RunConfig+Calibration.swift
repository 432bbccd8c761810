internal import Quantization
internal import Rotation
internal import TernarySVD

extension RunConfig {
    /// Whether a job reads the training text, so that sequences are drawn where none is given.
    package func readsText(_ job: ModelJob) -> Bool {
        switch job {
        case .train, .qat: true
        case .rotate: rotation.objective != .weights || calibrates(job)
        case .ptq, .quantize, .eval: calibrates(job)
        }
    }

    /// Whether a job reads `calibration.sequences` of the training text.
    package func calibrates(_ job: ModelJob) -> Bool {
        switch job {
        case .rotate, .eval: rotation.balance
        case .train, .qat: false
        case .ptq: ternary.weighting != .none
        case .quantize:
            quantize.recipe == .auto || weightQuantization?.inputs != nil || quantizeTransforms.contains(where: calibrates)
        }
    }

    /// Of a text's sequences, those that recipes are calibrated on, and those after them that they are compared on.
    package func dividedForRecipes(_ count: Int) -> (calibrated: Int, compared: Int) {
        let compared = min(quantize.heldOut, max(1, count / 4))
        return (min(calibration.sequences, count - compared), compared)
    }

    private func calibrates(_ transform: QuantizeSettings.Transform) -> Bool {
        switch transform {
        case .none, .hadamard: false
        case .smoothquant, .balance: true
        // Where nothing is rounded that rotations turn, they are learned from the weights alone.
        case .learned: rotation.path == nil && roundsTurnedActivations
        }
    }
}
