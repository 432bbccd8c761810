package import Models
package import Parallelism
internal import Quantization
package import TensorCore

/// Largest |x| of each channel that linears read at a point of a block.
package typealias ChannelMaxima = [Int: [HookPoint: [Float]]]

extension Calibration {
    /// What the linears of this rank's stage read on `windows`, in the network as it is. Collective.
    ///
    /// - Throws: ``CalibrationError``.
    package static func channelMaxima(
        _ model: Model, _ parameters: Parameters<some TensorValue>, windows: [[Int32]], _ groups: ParallelGroups<World>,
        storage: ActivationStorage
    ) throws -> ChannelMaxima {
        var result: ChannelMaxima = [:]
        let gathering = Calibration(model, groups, mode: .fullPrecision, depth: .channels, storage: storage)
        try gathering.run(parameters, windows: windows, hooks: IdentityHooks()) { calibrated in
            result[calibrated.block, default: [:]][calibrated.point] = try calibrated.statistics().maxima
            return calibrated.layers.map(\.weight)
        }
        return result
    }
}

extension Parameters where Value == StoredTensor {
    /// The same function with the inputs of the linears that read a norm divided by SmoothQuant's scales, which the weights
    /// take: γ ← γ/s and β ← β/s, W ← W·diag(s). Norms without factors stay, and so do norms on the residual stream.
    package func smoothed(by maxima: ChannelMaxima, _ architecture: Architecture) -> Self {
        var result = self
        for index in blocks.indices {
            let place = firstBlock + index
            for norm in architecture.blocks[place].norms where norm.isScalable {
                guard let gain = norm.gain, let largest = maxima[place]?[norm.output] else { continue }
                let readers = blocks[index].specs.indices.filter { blocks[index].specs[$0].ports?.reads == norm.output }
                let smoothing = SmoothQuant(inputMaxima: largest, weights: readers.map { blocks[index][$0].tensor })
                for reader in readers {
                    result.blocks[index][reader] = StoredTensor(smoothing.smoothed(blocks[index][reader].tensor))
                }
                for name in [gain, norm.shift].compactMap(\.self) {
                    guard let position = blocks[index].index(name) else { continue }
                    result.blocks[index][position] = StoredTensor(smoothing.divided(blocks[index][position].tensor))
                }
            }
        }
        return result
    }
}
