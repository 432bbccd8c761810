internal import Autograd
package import Collectives
package import Models
package import Parallelism
package import Quantization
internal import Support
package import TensorCore

/// On which activations layers are calibrated.
package enum CalibrationMode: String, Sendable, CaseIterable {
    /// Those of the network whose layers before are replaced already: what a layer will see. Each hook point takes a pass of
    /// its own through the block.
    case sequential
    /// Those of the network as it is: one pass through the block.
    case fullPrecision = "full-precision"
}

/// The linear layers of a block that read one hook point, and what calibration has seen there.
package struct CalibratedLayers {
    package struct Layer {
        /// As in the checkpoint, without `.weight`.
        package let name: String
        /// `[out, in]`.
        package let weight: Tensor
    }

    /// The block's place in the model.
    package let block: Int
    package let point: HookPoint
    package let layers: [Layer]
    /// Of all replicas' windows, the same on all of them.
    package let statistics: InputStatistics
}

/// Runs windows through a network block by block, and gathers what its linear layers read (one set of sums for those that read
/// the same).
///
/// A block's input is held for all windows of a replica, everything else for one window at a time. Replicas take windows in
/// turn, and their sums are added up in double precision; stages go one after the other.
package struct Calibration<World: Communicator> {
    package let model: Model
    package let groups: ParallelGroups<World>
    package let mode: CalibrationMode
    package let depth: InputStatistics.Depth

    package init(
        _ model: Model, _ groups: ParallelGroups<World>, mode: CalibrationMode = .sequential,
        depth: InputStatistics.Depth = .secondMoment
    ) {
        (self.model, self.groups, self.mode, self.depth) = (model, groups, mode, depth)
    }

    /// Goes through the blocks of this rank's stage. Collective.
    ///
    /// - Parameters:
    ///   - parameters: of the stage; a block's are made when its turn comes.
    ///   - windows: of all replicas, of equal lengths.
    ///   - hooks: what else happens at hook points, such as the rounding of activations.
    ///   - replace: called for the layers of each hook point that layers read, in the order of the forward pass, on all replicas
    ///     alike; returns their new weights, in order.
    /// - Throws: `CalibrationError`; what `replace` throws.
    package func run(
        _ parameters: Parameters<some TensorValue>, windows: [[Int32]], hooks: some HookTransform,
        replace: (CalibratedLayers) throws -> [Tensor]
    ) throws {
        guard !windows.isEmpty else { throw CalibrationError.noWindows }
        let own = windows.indices.filter { $0 % groups.dims.data == groups.replica }.map { windows[$0] }
        let held = parameters.blockRange
        var inputs = [Tensor?](repeating: nil, count: own.count)
        // All ranks go through all blocks, so that they look together whether one was asked to stop.
        for block in model.architecture.blocks.indices {
            try StopRequest.check(on: groups.world)
            try Trace.span(.calibrate, block) {
                if held.contains(block) {
                    let entry = parameters.isFirst && block == held.lowerBound ? parameters.entry.tensors : nil
                    var stretch = BlockRun(
                        calibration: self, entry: entry, block: block,
                        parameters: parameters.blocks[block - held.lowerBound].tensors, hooks: hooks, windows: own)
                    try stretch.calibrate(&inputs, replace)
                    if block == held.upperBound - 1, !groups.isLast {
                        for input in inputs { if let input { try groups.pipeline.send(input, to: groups.stage + 1) } }
                    }
                } else if block == held.lowerBound - 1 {
                    for (place, window) in own.enumerated() {
                        inputs[place] = try groups.pipeline.receive(
                            [window.count, model.architecture.hiddenSize], from: groups.stage - 1)
                    }
                }
            }
        }
    }
}

extension ParameterGroup where Value: TensorValue {
    fileprivate var tensors: ParameterGroup<Tensor> { map { _, _, value in value.tensor } }
    fileprivate var constants: ParameterGroup<Variable> { map { _, _, value in Variable(constant: value) } }
}

/// One block, with the entry before it where the model begins.
private struct BlockRun<World: Communicator, Hooks: HookTransform> {
    let calibration: Calibration<World>
    let entry: ParameterGroup<Tensor>?
    let block: Int
    var parameters: ParameterGroup<Tensor>
    let hooks: Hooks
    let windows: [[Int32]]

    /// The hook points that layers read, in the order of the forward pass, and which parameters read them.
    private var points: [(point: HookPoint, layers: [Int])] {
        var result: [(point: HookPoint, layers: [Int])] = []
        for (index, spec) in parameters.specs.enumerated() {
            guard let point = spec.ports?.reads else { continue }
            if let known = result.firstIndex(where: { $0.point == point }) {
                result[known].layers.append(index)
            } else {
                result.append((point, [index]))
            }
        }
        return result
    }

    /// - Parameter inputs: of each window; nil where tokens enter. Become the block's outputs.
    mutating func calibrate(_ inputs: inout [Tensor?], _ replace: (CalibratedLayers) throws -> [Tensor]) throws {
        let points = points
        switch calibration.mode {
        case .sequential:
            for (point, layers) in points {
                let statistics = [point: statistics(layers)]
                for (window, input) in zip(windows, inputs) { _ = output(window, input, statistics) }
                try settle(point, layers, statistics, replace)
            }
            for place in windows.indices { inputs[place] = output(windows[place], inputs[place], [:]) }
        case .fullPrecision:
            var all: [HookPoint: InputStatistics] = [:]
            for (point, layers) in points { all[point] = statistics(layers) }
            for place in windows.indices { inputs[place] = output(windows[place], inputs[place], all) }
            for (point, layers) in points { try settle(point, layers, all, replace) }
        }
    }

    private func statistics(_ layers: [Int]) -> InputStatistics {
        InputStatistics(width: parameters.specs[layers[0]].shape[1], depth: calibration.depth)
    }

    private func output(_ window: [Int32], _ input: Tensor?, _ statistics: [HookPoint: InputStatistics]) -> Tensor {
        let none = ParameterGroup<Variable>([], [])
        let stage = Parameters<Variable>(
            firstBlock: block, entry: entry?.constants ?? none, blocks: [parameters.constants], exit: none,
            isLast: false)
        let network = Network(
            model: calibration.model, parameters: stage,
            hooks: GatheringHooks(base: hooks, block: block, statistics: statistics))
        return network.outputs([window], from: input)
    }

    /// Adds up what the replicas have seen at a point, and has its layers replaced.
    private mutating func settle(
        _ point: HookPoint, _ layers: [Int], _ all: [HookPoint: InputStatistics],
        _ replace: (CalibratedLayers) throws -> [Tensor]
    ) throws {
        guard let statistics = all[point] else { return }
        statistics.finish()
        let replicas = calibration.groups.replicas
        if replicas.size > 1 {
            try replicas.allReduce(statistics.sums.elements, .sum)
            try replicas.allReduce(&statistics.maxima, .max)
        }
        let calibrated = CalibratedLayers(
            block: block, point: point,
            layers: layers.map { index in
                CalibratedLayers.Layer(
                    name: parameters.prefix + String(parameters.specs[index].name.dropLast(".weight".count)),
                    weight: parameters[index])
            }, statistics: statistics)
        let new = try replace(calibrated)
        precondition(new.count == layers.count, "\(new.count) weights for \(layers.count) layers")
        for (index, weight) in zip(layers, new) {
            precondition(weight.shape == parameters[index].shape, "\(weight.shape) for \(parameters[index].shape)")
            parameters[index] = weight
        }
    }
}
