internal import Autograd
internal import Collectives
internal import Models
internal import Quantization
internal import Rotation
internal import Support
internal import TensorCore
internal import TernarySVD

/// This stage's weights for a step, rotated and, where they are quantized in training, rounded.
extension RotationLearner {
    /// Collective over the replicas of the stage where these divide the work.
    ///
    /// - Returns: the rotated weights and, where weights are quantized, the quantized ones as parameters that require
    ///   gradients.
    func studentWeights(
        _ replicas: some Communicator
    ) throws(MPIError) -> (rotated: Parameters<StoredTensor>, quantized: Parameters<Variable>?) {
        if settings.dividesWeights { return try dividedWeights(replicas) }
        let rotated = Trace.span(.rotateWeights) {
            base.rotated(by: rotations, sides: settings.plan.sides, model.architecture)
        }
        let quantized = settings.weightQuantizer.map { quantizer in
            Trace.span(.quantizeWeights) {
                rotated.mapLinears(
                    weight: { Variable(parameter: quantizer.fakeQuantized($0.tensor)) }, other: { Variable(constant: $0.held) })
            }
        }
        return (rotated, quantized)
    }

    /// A matrix that differs from the model's.
    private struct Changed {
        /// Made when it is asked for.
        let rotated: StoredTensor
        let isRotated: Bool
        let isQuantized: Bool
    }

    /// Each replica rotates and rounds some whole matrices and sends them to the others.
    private func dividedWeights(
        _ replicas: some Communicator
    ) throws(MPIError) -> (rotated: Parameters<StoredTensor>, quantized: Parameters<Variable>?) {
        let original = base.map { _, value in value.deferred }
        let known = Dictionary(uniqueKeysWithValues: original.named.map { ($0.name, $0.value) })
        let planned = original.rotated(by: rotations, sides: settings.plan.sides, model.architecture)
        var changed: [(name: String, matrix: Changed)] = []
        _ = planned.mapSpecs { name, spec, value in
            let isRotated = known[name].map { !$0.isIdentical(to: value) } ?? true
            let isQuantized = settings.weightQuantizer != nil && spec.ports != nil
            guard isRotated || isQuantized else { return }
            changed.append((name, Changed(rotated: value, isRotated: isRotated, isQuantized: isQuantized)))
        }
        let owners = GreedyDispatch.owners(
            sizes: changed.map { $0.matrix.rotated.shape.reduce(1, *) }, ranks: replicas.size)
        var (rotated, quantized): ([String: Tensor], [String: Tensor]) = ([:], [:])
        for ((name, matrix), owner) in zip(changed, owners) where owner == replicas.rank {
            let tensor = Trace.span(.rotateWeights) { matrix.rotated.tensor }
            if matrix.isRotated { rotated[name] = tensor }
            guard matrix.isQuantized, let quantizer = settings.weightQuantizer else { continue }
            quantized[name] = Trace.span(.quantizeWeights) { quantizer.fakeQuantized(tensor) }
        }
        for ((name, matrix), owner) in zip(changed, owners) {
            let shape = matrix.rotated.shape
            if matrix.isRotated { try share(&rotated[name], shape, from: owner, replicas) }
            if matrix.isQuantized { try share(&quantized[name], shape, from: owner, replicas) }
        }
        let own = Dictionary(uniqueKeysWithValues: base.named.map { ($0.name, $0.value) })
        let result = planned.map { name, value in rotated[name].map { StoredTensor($0) } ?? own[name] ?? value }
        guard settings.weightQuantizer != nil else { return (result, nil) }
        let variables = result.map { name, value in
            quantized[name].map { Variable(parameter: $0) } ?? Variable(constant: value.held)
        }
        return (result, variables)
    }

    private func share(
        _ tensor: inout Tensor?, _ shape: [Int], from owner: Int, _ replicas: some Communicator
    ) throws(MPIError) {
        var shared = tensor ?? Tensor(uninitialized: shape)
        tensor = nil
        try replicas.broadcast(&shared, root: owner)
        tensor = shared
    }
}
