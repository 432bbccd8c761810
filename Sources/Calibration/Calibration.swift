internal import Autograd
package import Collectives
package import Models
package import Parallelism
package import Quantization
package import Support
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
    /// A linear layer and its weight.
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
    /// Of all that the inputs come from: the block's own inputs, on all replicas, its parameters as they were, and in
    /// sequential mode what its layers before have become. Where it is the same, so are the statistics, as long as the same
    /// is done at hook points.
    package let origin: Digest
    /// Of all replicas' windows, the same on all of them. Collective, and computed the first time; where nobody asks, no pass
    /// is spent on them.
    package let statistics: () throws -> InputStatistics
}

/// The windows that pass a block together.
package enum CalibrationPass {
    /// As many as have 1024 tokens, at least one: enough for many threads, and for products, which lay out weights.
    package static func windows(length: Int) -> Int { max(1, 1024 / length) }
}

/// Runs windows through a network block by block, and gathers what its linear layers read (one set of sums for those that read
/// the same).
///
/// A block's input is held for all windows of a replica, in memory or in a file, everything else for the
/// windows of a pass, see ``CalibrationPass``.
/// Replicas take windows in turn, and their sums are added up in double precision; stages go one after the other. Where inputs
/// are compared with the full-precision network's, that network is run through the blocks as well, and its inputs are held,
/// too.
package struct Calibration<World: Communicator> {
    package let model: Model
    package let groups: ParallelGroups<World>
    package let mode: CalibrationMode
    package let depth: InputStatistics.Depth
    package let storage: ActivationStorage

    package init(
        _ model: Model, _ groups: ParallelGroups<World>, mode: CalibrationMode = .sequential,
        depth: InputStatistics.Depth = .secondMoment, storage: ActivationStorage = .memory
    ) {
        precondition(depth < .deviation || mode == .sequential, "nothing deviates in full precision")
        (self.model, self.groups, self.mode, self.depth, self.storage) = (model, groups, mode, depth, storage)
    }

    /// Goes through the blocks of this rank's stage. Collective.
    ///
    /// - Parameters:
    ///   - parameters: of the stage; a block's are made when its turn comes.
    ///   - windows: of all replicas, of equal lengths.
    ///   - hooks: what else happens at hook points, such as the rounding of activations.
    ///   - exact: those of the full-precision network, where deviations from it are gathered; nil: the same.
    ///   - replace: called for the layers of each hook point that layers read, in the order of the forward pass, on all
    ///     replicas alike; returns their new weights, in order.
    /// - Throws: `CalibrationError`; `FileError` where the file for activations cannot be written; what `replace` throws. What
    ///   all replicas of a stage have alike, a `CalibrationError` or what they have agreed on, becomes an `AgreedError` of all
    ///   stages, before the next block.
    package func run<Hooks: HookTransform>(
        _ parameters: Parameters<some TensorValue>, windows: [[Int32]], hooks: Hooks, exact: Hooks? = nil,
        replace: (CalibratedLayers) throws -> [Tensor]
    ) throws {
        guard !windows.isEmpty else { throw CalibrationError.noWindows }
        precondition(windows.allSatisfy { $0.count == windows[0].count }, "windows of unequal lengths")
        let own = windows.indices.filter { $0 % groups.dims.data == groups.replica }.map { windows[$0] }
        let held = parameters.blockRange
        let hidden = model.architecture.hiddenSize
        // All replicas, and stages, fail where one cannot make its file.
        let inputs = try groups.world.agree {
            func activations() throws -> WindowActivations {
                try WindowActivations(count: own.count, values: windows[0].count * hidden, in: storage)
            }
            return BlockInputs(rounded: try activations(), exact: depth == .deviation ? try activations() : nil)
        }
        // Of this rank's stage, on all of its replicas.
        var failure: (any Error)?
        // All ranks go through all blocks, so that they look together whether one was asked to stop, or a stage has failed.
        func meet() throws { try groups.world.agree { if let failure { throw failure } } }
        for block in model.architecture.blocks.indices {
            try meet()
            try Trace.span(.calibrate, block) {
                if held.contains(block) {
                    let entry = parameters.isFirst && block == held.lowerBound ? parameters.entry.tensors : nil
                    let stretch = BlockRun(
                        calibration: self, entry: entry, block: block,
                        parameters: parameters.blocks[block - held.lowerBound].tensors, hooks: hooks,
                        exactHooks: exact ?? hooks, windows: own, length: windows[0].count,
                        rounds: (windows.count + groups.dims.data - 1) / groups.dims.data, inputs: inputs)
                    failure = try commonFailure { try stretch.calibrate(replace) }
                    if block == held.upperBound - 1, !groups.isLast {
                        // The next stage waits for them before it hears of a failure.
                        try send(inputs, substitute: failure == nil ? nil : Tensor(zeros: [windows[0].count, hidden]))
                    }
                } else if block == held.lowerBound - 1 {
                    try receive(inputs, of: [windows[0].count, hidden])
                }
            }
        }
        try meet()
    }

    /// What all replicas of a stage throw alike; another error ends this rank at once.
    private func commonFailure(_ body: () throws -> Void) throws -> (any Error)? {
        do {
            try body()
            return nil
        } catch let error as CalibrationError {
            return error
        } catch let error as AgreedError {
            return error
        } catch let stop as StopRequested {
            return stop
        }
    }

    /// Sends a stage's outputs to the next one.
    ///
    /// - Parameter substitute: sent instead of each, where the stage has failed.
    private func send(_ outputs: BlockInputs, substitute: Tensor?) throws {
        for activations in outputs.all {
            for place in 0..<activations.count {
                guard let output = try substitute ?? activations.tensor(place) else { continue }
                try groups.pipeline.send(output, to: groups.stage + 1)
            }
        }
    }

    private func receive(_ inputs: BlockInputs, of shape: [Int]) throws {
        for activations in inputs.all {
            for place in 0..<activations.count {
                try activations.set(place, try groups.pipeline.receive(shape, from: groups.stage - 1))
            }
        }
    }
}

extension ParameterGroup where Value: TensorValue {
    fileprivate var tensors: ParameterGroup<Tensor> { map { _, _, value in value.tensor } }
    fileprivate var constants: ParameterGroup<Variable> { map { _, _, value in Variable(constant: value) } }
}

/// A block's inputs, or its outputs, of each of a replica's windows.
private struct BlockInputs {
    let rounded: WindowActivations
    /// Of the full-precision network; nil where nothing is compared with it.
    let exact: WindowActivations?

    var all: [WindowActivations] { [rounded] + (exact.map { [$0] } ?? []) }

    /// Those that are there, one after the other; none where tokens enter.
    func forEach(_ body: (Tensor) throws -> Void) throws {
        for activations in all {
            for place in 0..<activations.count {
                if let tensor = try activations.tensor(place) { try body(tensor) }
            }
        }
    }
}

/// The calibration of one block: gathers statistics of its layers' inputs over all windows, replaces its parameters hook point
/// by hook point, and runs the windows through the block. The first block runs after the entry.
private final class BlockRun<World: Communicator, Hooks: HookTransform> {
    private let calibration: Calibration<World>
    private let entry: ParameterGroup<Tensor>?
    private let block: Int
    /// The block's parameters. Layers are replaced one hook point after the other.
    private var parameters: ParameterGroup<Tensor>
    /// The parameters before any was replaced, where layers see the activations of the unchanged network (full-precision mode)
    /// or are compared with them; nil elsewhere.
    private let original: ParameterGroup<Tensor>?
    private let hooks: Hooks
    private let exactHooks: Hooks
    private let windows: [[Int32]]
    /// The block's input for each window, later replaced by its output. Empty at the first block, which reads tokens.
    private let inputs: BlockInputs
    /// `length`: tokens of a window; `rounds`: windows of the replica that has most.
    private let (length, rounds): (Int, Int)
    /// Statistics of the pass through the unchanged block, where one was made. They are kept because the outputs have then
    /// replaced the inputs.
    private var whole: [HookPoint: InputStatistics]?

    init(
        calibration: Calibration<World>, entry: ParameterGroup<Tensor>?, block: Int, parameters: ParameterGroup<Tensor>,
        hooks: Hooks, exactHooks: Hooks, windows: [[Int32]], length: Int, rounds: Int, inputs: BlockInputs
    ) {
        (self.calibration, self.entry, self.block) = (calibration, entry, block)
        (self.hooks, self.exactHooks) = (hooks, exactHooks)
        (self.parameters, self.windows, self.inputs) = (parameters, windows, inputs)
        (self.length, self.rounds) = (length, rounds)
        original = calibration.mode == .fullPrecision || inputs.exact != nil ? parameters : nil
    }

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

    /// Leaves the block's outputs for each window in its inputs' places.
    func calibrate(_ replace: (CalibratedLayers) throws -> [Tensor]) throws {
        var origin = try origin()
        for (point, layers) in points {
            try replaceWeights(layers, replace, point, origin)
            // Later layers of the block see what these have become, on all replicas alike.
            if calibration.mode == .sequential { origin = next(origin, layers) }
        }
        if whole == nil {
            let replaced = calibration.mode == .fullPrecision ? original : nil
            try forEachPass { places in
                let network = network(replaced ?? parameters, hooks)
                try inputs.rounded.set(places, network.outputs(sequences(places), from: inputs.rounded.tensor(places)))
            }
        }
        if let exact = inputs.exact, let original {
            try forEachPass { places in
                let network = network(original, exactHooks)
                try exact.set(places, network.outputs(sequences(places), from: exact.tensor(places)))
            }
        }
    }

    /// Multiplications of a replica between two checks for a request to stop: some hundredths of a second, and not
    /// many on a machine that has other work, too.
    private static var pause: Int { 1_000_000_000 }

    /// Goes through this replica's windows, some at a time. Now and then the replicas look together whether one was asked to
    /// stop. Collective.
    private func forEachPass(_ body: (_ places: Range<Int>) throws -> Void) throws {
        let count = CalibrationPass.windows(length: length)
        let pause = max(1, Self.pause / max(1, count * length * parameters.values.reduce(0) { $0 + $1.count }))
        for (pass, first) in stride(from: 0, to: rounds, by: count).enumerated() {
            if pass % pause == 0 { try StopRequest.check(on: calibration.groups.replicas) }
            if first < windows.count { try body(first..<min(windows.count, first + count)) }
        }
    }

    /// What the replicas' inputs and the parameters are known by.
    private func origin() throws -> Digest {
        let tokens = windows.flatMap { window in window.flatMap { number in withUnsafeBytes(of: number) { Array($0) } } }
        var given = StateDigest()
        for tensor in (entry?.values ?? []) + parameters.values { given.add(tensor) }
        try inputs.forEach { given.add($0) }
        let own = sha256(Array("\(calibration.mode.rawValue) \(calibration.depth)".utf8) + tokens + given.value)
        // Of all replicas together: each gives its numbers times its place, so that none makes up for another.
        let place = Int64(calibration.groups.replica + 1)
        var sums = own.map { Int64($0) * place }
        try calibration.groups.replicas.allReduce(&sums, .sum)
        return sha256(Array("\(sums)".utf8))
    }

    /// Of all that the inputs come from once these layers are replaced.
    private func next(_ origin: Digest, _ layers: [Int]) -> Digest {
        var replaced = StateDigest()
        for index in layers { replaced.add(parameters[index]) }
        return sha256(origin + replaced.value)
    }

    private func sequences(_ places: Range<Int>) -> [[Int32]] { Array(windows[places]) }

    /// The block alone, the first after the entry.
    private func network<Used: HookTransform>(_ parameters: ParameterGroup<Tensor>, _ hooks: Used) -> Network<Used> {
        let none = ParameterGroup<Variable>([], [])
        let stage = Parameters<Variable>(
            firstBlock: block, entry: entry?.constants ?? none, blocks: [parameters.constants], exit: none,
            isLast: false)
        return Network(model: calibration.model, parameters: stage, hooks: hooks)
    }

    private func empty(_ layers: [Int]) -> InputStatistics {
        InputStatistics(width: parameters.specs[layers[0]].shape[1], depth: calibration.depth)
    }

    /// What all replicas have seen at a point.
    private func statistics(_ point: HookPoint, _ layers: [Int]) throws -> InputStatistics {
        let result: InputStatistics
        if calibration.mode == .fullPrecision, let original {
            let all = whole ?? Dictionary(uniqueKeysWithValues: points.map { ($0.point, empty($0.layers)) })
            if whole == nil {
                let gathering = GatheringHooks(base: hooks, block: block, statistics: all, length: length)
                try forEachPass { places in
                    let network = network(original, gathering)
                    try inputs.rounded.set(places, network.outputs(sequences(places), from: inputs.rounded.tensor(places)))
                }
                whole = all
            }
            result = all[point] ?? empty(layers)
        } else {
            result = empty(layers)
            try forEachPass { places in
                func value(_ parameters: ParameterGroup<Tensor>, _ hooks: Hooks, _ inputs: WindowActivations) throws -> Tensor {
                    try network(parameters, hooks).value(
                        at: point, block: block, sequences(places), from: inputs.tensor(places))
                }
                // Where deviations are gathered, the full-precision network's.
                let exact = try inputs.exact.flatMap { exact in try original.map { try value($0, exactHooks, exact) } }
                try result.add(windowsOf: length, value(parameters, hooks, inputs.rounded), exact: exact)
            }
        }
        let replicas = calibration.groups.replicas
        if replicas.size > 1 {
            try replicas.allReduce(result.sums.elements, .sum)
            try replicas.allReduce(&result.maxima, .max)
        }
        return result
    }

    /// Has the layers that read a point replaced.
    private func replaceWeights(
        _ layers: [Int], _ replace: (CalibratedLayers) throws -> [Tensor], _ point: HookPoint, _ origin: Digest
    ) throws {
        // Layers of several numbers of bits ask once each; the sums of all replicas are there after the first.
        var gathered: InputStatistics?
        let calibrated = CalibratedLayers(
            block: block, point: point,
            layers: layers.map { index in
                CalibratedLayers.Layer(
                    name: parameters.prefix + String(parameters.specs[index].name.dropLast(".weight".count)),
                    weight: parameters[index])
            }, origin: origin,
            statistics: {
                let result = try gathered ?? self.statistics(point, layers)
                gathered = result
                return result
            })
        let new = try replace(calibrated)
        precondition(new.count == layers.count, "\(new.count) weights for \(layers.count) layers")
        for (index, weight) in zip(layers, new) {
            precondition(weight.shape == parameters[index].shape, "\(weight.shape) for \(parameters[index].shape)")
            parameters[index] = weight
        }
    }
}
