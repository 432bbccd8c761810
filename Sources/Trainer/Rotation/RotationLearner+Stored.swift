internal import CKernels
package import Calibration
package import Collectives
internal import Configuration
internal import Models
package import Parallelism
internal import Rotation
internal import TensorCore

/// Steps that do not run the network: on stored rows, or only on the weights.
extension RotationLearner {
    /// Runs the full-precision network over `windows` once and keeps the inputs of the rotated quantizers, each replica for its
    /// share of the windows. Collective.
    ///
    /// - Parameters:
    ///   - tokens: number of tokens that a step uses, over all windows.
    ///   - storage: where the inputs are kept.
    package func store(
        _ windows: [[Int32]], tokens: Int, in storage: ActivationStorage, _ groups: ParallelGroups<some Communicator>
    ) throws {
        stored = try StoredRows(teacher, rotations, settings, windows: windows, tokens: tokens, in: storage, groups)
    }

    /// Number of tokens that a step uses, over all ranks; nil where it runs the network.
    package var tokensPerStep: Int? { settings.objective.runsNetwork ? nil : stored?.tokensPerStep ?? 0 }

    /// Gathers this rank's share of a step's gradients. Returns its share of the loss on the last stage; 0 on others.
    func accumulateStored(step: Int, _ groups: ParallelGroups<some Communicator>) throws -> Double {
        resetGradients()
        var losses: [Double]
        if settings.objective == .weights {
            losses = weightLosses(groups)
        } else {
            guard let stored else { preconditionFailure("\(settings.objective) before rows are stored") }
            losses = try stored.accumulate(step: step, rotations, r1: r1Gradients, r2: r2Gradients)
        }
        // Each block's loss comes from one stage, so the sum over stages is exact, and in the same order as on one rank.
        try groups.pipeline.allReduce(&losses, .sum)
        return groups.isLast ? losses.reduce(0, +) : 0
    }

    /// This replica's and this stage's share of the mean kurtosis of the rotated linears' weights, by block of the model. Adds
    /// their gradients to those of the rotations. Each replica takes some of the blocks.
    ///
    /// With Z a rotated weight of N entries, the kurtosis is N·Σ z⁴/(Σ z²)². A rotation does not change Σ z², and the size of Z
    /// changes neither the kurtosis nor Zᵀ·∂/∂Z.
    private func weightLosses(_ groups: ParallelGroups<some Communicator>) -> [Double] {
        let architecture = model.architecture
        var losses = [Double](repeating: 0, count: architecture.blocks.count)
        let owners = architecture.weightOwners(replicas: groups.dims.data)
        for (index, block) in base.blocks.enumerated() {
            let place = base.firstBlock + index
            guard owners[place] == groups.replica else { continue }
            let none = ParameterGroup<StoredTensor>([], [])
            let rotated = Parameters(firstBlock: place, entry: none, blocks: [block], exit: none, isLast: false)
                .rotated(by: rotations, architecture).blocks[0]
            for (position, spec) in rotated.specs.enumerated() {
                guard let ports = spec.ports else { continue }
                guard let weight = rotated[position].tensor.nearUnitSize() else { continue }
                let square = weight.squaredNorm
                var slope = Tensor(uninitialized: weight.shape)
                let scale = Double(weight.count) / (square * square * Double(architecture.linears.count))
                losses[place] += ck_fourth_power_loss(weight.pointer, slope.mutablePointer, weight.count, scale)
                addWeightTerm(place, ports, weight, slope)
            }
        }
        return losses
    }

    /// Starts from the best of several rotations: for R1 and for each R2 the one with the least loss on the stored rows of one
    /// step. Collective.
    package func start(from candidates: RandomStarts, _ groups: ParallelGroups<some Communicator>) throws {
        guard candidates.count > 1 else { return }
        guard let stored else { preconditionFailure("nothing to choose a start by") }
        let width = model.architecture.layerCount + 1
        var losses = try candidates.flatMap { try stored.losses(step: 0, $0) }
        try groups.world.allReduce(&losses, .sum)
        let best = (0..<width).map { place in
            candidates.indices.min { losses[$0 * width + place] < losses[$1 * width + place] } ?? 0
        }
        // Each of them made once more.
        for number in Set(best) {
            let candidate = candidates[number]
            if best[0] == number { rotations.r1 = candidate.r1 }
            guard let r2 = candidate.r2 else { continue }
            for layer in r2.indices where best[1 + layer] == number { rotations.r2?[layer] = r2[layer] }
        }
    }
}

extension Tensor {
    /// The values times the power of two that brings their root mean square near 1, so that fourth powers of small values do
    /// not vanish; nil where all are 0. The values keep their bits.
    fileprivate func nearUnitSize() -> Tensor? {
        let square = squaredNorm / Double(max(1, count))
        guard square > 0 else { return nil }
        let exponent = min(-Int(square.squareRoot().exponent), Float.greatestFiniteMagnitude.exponent)
        var result = copy()
        ck_scale(Float(sign: .plus, exponent: exponent, significand: 1), result.mutablePointer, result.count)
        return result
    }
}
