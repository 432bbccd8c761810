internal import Rotation
package import Runs
internal import TensorCore

extension RotationLearner {
    /// The rotations and their optimizers' state; the same on every rank.
    package var state: TrainingState {
        var state = TrainingState()
        state.sharing = .world
        for (name, rotation) in rotations.named { state.tensors[name] = rotation }
        for (index, optimizer) in optimizers.enumerated() {
            state.tensors["momentum.\(index)"] = optimizer.momentumBuffer
            state.numbers["steps.\(index)"] = Double(optimizer.steps)
        }
        return state
    }

    /// Continues from a state of the same model and configuration.
    package func restore(_ state: TrainingState) throws {
        rotations = try rotations.mapNamed { name, rotation in try state.tensor(name, rotation.shape) }
        for (index, optimizer) in optimizers.enumerated() {
            optimizers[index] = CayleySGD(
                retraction: optimizer.retraction, momentum: optimizer.momentum, stepSize: optimizer.stepSize,
                orthonormalization: optimizer.orthonormalization,
                steps: try state.count("steps.\(index)"), momentumBuffer: try state.optionalTensor("momentum.\(index)"))
        }
    }
}
