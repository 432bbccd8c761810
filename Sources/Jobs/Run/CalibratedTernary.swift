internal import Calibration
internal import Collectives
internal import Configuration
internal import Models
internal import Parallelism
internal import Quantization
internal import Runs
internal import Support
internal import TensorCore
internal import TernarySVD
internal import Trainer

/// Ternary layers that are made by statistics of their inputs on a calibration text.
struct CalibratedTernary<World: Communicator> {
    private let run: LanguageModelRun<World>
    private let original: ModelWeights<StoredTensor>
    /// The layers that become ternary, in the model's order.
    private let names: [String]
    private let windows: [[Int32]]
    private let finished: FinishedLayers

    /// Windows that drafts of digits are made on.
    private static var draftWindows: Int { 32 }
    /// An upper estimate of a layer's bytes in a file besides its code, for entries of the header.
    private static var headerBytes: Int { 400 }
    /// The share of the budget that is kept back, so that an underestimate of the last layer does not exceed the budget.
    private static var margin: Double { 0.002 }

    /// The tag of messages on the bits that stages have taken; hidden states have 0.
    private static var budgetTag: Int { 1 }

    private var config: RunConfig { run.context.config }
    private var groups: ParallelGroups<World> { run.context.groups }

    /// - Parameter indices: indices of this stage's layers. Collective.
    init(
        _ run: LanguageModelRun<World>, _ original: ModelWeights<StoredTensor>, _ indices: [Int],
        keeping finished: FinishedLayers
    ) throws {
        (self.run, self.original, self.finished) = (run, original, finished)
        names = indices.map(original.layerName)
        windows = try run.calibrationWindows(drawingFrom: original.parameters)
    }

    /// Goes through the blocks. The layers that read the same hook point are dealt to the replicas. Collective.
    ///
    /// Results of an interrupted run are restored. Where these cover all layers of a hook point, no pass is needed for the
    /// statistics of their inputs.
    ///
    /// - Parameters:
    ///   - work: the work on a layer, by its owner.
    ///   - finish: called on all replicas with the results for the layers of a hook point; returns their new weights.
    private func calibrate<Work: LayerWork>(
        _ mode: CalibrationMode, _ windows: [[Int32]], _ work: Work,
        finish: (CalibratedLayers, _ own: [DealtLayer<Work.Made>]) throws -> [Tensor]
    ) throws {
        var seen = 0
        try Calibration(run.model, groups, mode: mode, storage: run.context.activationStorage).run(
            original.parameters, windows: windows, hooks: IdentityHooks()
        ) { calibrated in
            let chosen = calibrated.layers.indices.filter { names.contains(calibrated.layers[$0].name) }
            guard let first = chosen.first else { return calibrated.layers.map(\.weight) }
            if seen == 0 { try work.begin() }
            let owners = GreedyDispatch.owners(
                sizes: chosen.map { calibrated.layers[$0].weight.count }, ranks: groups.dims.data)
            var dealt = zip(chosen, owners).map { index, owner in
                let layer = calibrated.layers[index]
                let source = source(layer, calibrated.origin, work.settings(layer.name))
                return DealtLayer(index: index, owner: owner, source: source, made: nil as Work.Made?)
            }
            let own = dealt.indices.filter { dealt[$0].owner == groups.replica }
            for place in own { dealt[place].made = work.kept(finished, dealt[place].source) }
            let open = own.filter { dealt[$0].made == nil }
            if try groups.replicas.allReduce(Int64(open.count), .sum) > 0 {
                let statistics = try calibrated.statistics()
                // All stages learn of an error in the pass through the blocks.
                let made = try groups.replicas.agree {
                    let norm = try naming(calibrated.layers[first].name) { try Work.Norm(statistics) }
                    let sizes = open.map { calibrated.layers[dealt[$0].index].weight.count }
                    return try Team.map(open.count, costs: sizes) { place, _ in
                        let layer = dealt[open[place]]
                        return try naming(calibrated.layers[layer.index].name) {
                            let made = try work.make(calibrated.layers[layer.index], norm, eachStep: pulse)
                            try work.keep(made, finished, layer.source)
                            return made
                        }
                    }
                }
                for (place, made) in zip(open, made) { dealt[place].made = made }
            }
            seen += chosen.count
            run.context.reporter.progress(Work.verb, seen, of: names.count)
            return try finish(calibrated, dealt)
        }
    }

    /// As ``calibrate(_:_:_:finish:)``, for layers that replace the weights. Collective.
    ///
    /// - Parameter done: called on all replicas with the layers of a hook point.
    private func replaced<Work: LayerWork>(
        by work: Work, done: ([TernaryReport.Layer]) throws -> Void = { _ in }
    ) throws -> [TernaryReport.Layer] where Work.Made == TernaryReport.Layer {
        var results: [String: TernaryReport.Layer] = [:]
        try calibrate(config.calibration.mode, windows, work) { calibrated, dealt in
            var new = calibrated.layers.map(\.weight)
            let made = try dealt.map { layer in
                let (name, shape) = (calibrated.layers[layer.index].name, new[layer.index].shape)
                let shared = try TernaryReport.Layer.shared(
                    layer.made, name: name, shape: shape, config.ternary.sparsity, from: layer.owner, over: groups.replicas)
                results[name] = shared
                new[layer.index] = shared.factors.unpacked()
                return shared
            }
            try done(made)
            return new
        }
        return names.compactMap { results[$0] }
    }

    /// Does work on a layer; errors name the layer.
    private func naming<Result>(_ layer: String, _ work: () throws -> Result) throws -> Result {
        do {
            return try work()
        } catch let error as any ReportableError {
            throw CalibrationError.layer(layer, error)
        }
    }

    /// Everything that determines a layer besides the options of the decomposition.
    private func source(_ layer: CalibratedLayers.Layer, _ origin: Digest, _ detail: String) -> FinishedLayers.Source {
        FinishedLayers.Source(
            weight: layer.weight, name: layer.name, inputs: origin,
            settings: "\(config.ternary.weighting.rawValue) \(config.ternary.sparsity.rawValue) \(detail)")
    }

    private func pulse() throws {
        WorkProgress.note()
        try StopRequest.check()
    }
}

/// A layer of a hook point, its owner, and its result there.
private struct DealtLayer<Made> {
    /// Index among the hook point's layers.
    let index: Int
    let owner: Int
    let source: FinishedLayers.Source
    var made: Made?
}

// MARK: - Descent

extension CalibratedTernary {
    /// Layers whose factors have been changed to lower the error of the layers' outputs. Collective.
    func descending(from layers: [TernaryReport.Layer]) throws -> [TernaryReport.Layer] {
        try replaced(
            by: DescentWork(
                starts: Dictionary(uniqueKeysWithValues: layers.map { ($0.name, $0) }), weighting: config.ternary.weighting,
                sparsity: config.ternary.sparsity))
    }
}

// MARK: - Digits

extension CalibratedTernary {
    /// Layers as whole numbers with ternary digits that together take `bits` bits per weight. Collective.
    ///
    /// - Throws: `AgreedError` of a `ConfigurationError` where that is not possible.
    func digits(bits: Double) throws -> [TernaryReport.Layer] {
        let linears = try config.ternary.layers.choose(among: run.model.architecture.linears)
        let counts = linears.map { $0.shape[0] * $0.shape[1] }
        let places = Dictionary(uniqueKeysWithValues: linears.enumerated().map { ($1.name, $0) })
        let drafts = try drafts(places, counts)
        let headers = Double(8 * Self.headerBytes * linears.count)
        let budget: DigitBudget
        do {
            budget = try DigitBudget(
                counts: counts, bits: drafts, total: (1 - Self.margin) * bits * Double(counts.reduce(0, +)) - headers)
        } catch {
            let (least, most) = error.possible(extra: headers / Double(counts.reduce(0, +)), margin: Self.margin)
            // From drafts, which all ranks have.
            throw AgreedError(
                ConfigurationError(
                    "ternary.bits",
                    "must be from \(least.formatted(decimals: 2)) to \(most.formatted(decimals: 2)) for these layers"))
        }
        // Stages work one after the other, each with the budget that the earlier ones have left.
        let (stages, own) = (stagesOfLayers(linears), names.compactMap { places[$0] })
        let earlier = stages.last { $0 < groups.stage }
        let work = DigitWork(
            budget: budget, places: places, weighting: config.ternary.weighting, sparsity: config.ternary.sparsity
        ) { budget in
            guard let earlier, let first = own.min() else { return }
            let spent = try groups.pipeline.receive(
                bytes: DigitBudget.Spent.byteCount, from: earlier, tag: Self.budgetTag)
            budget.resume(after: 0..<first, DigitBudget.Spent(bytes: spent))
        }
        var noted = 0
        return try replaced(by: work) { layers in
            for layer in layers {
                guard let place = places[layer.name] else { continue }
                work.budget.note(place, bits: Double(8 * TernaryCode.encode(layer.factors).count))
                noted += 1
            }
            if noted == own.count, let later = stages.first(where: { $0 > groups.stage }) {
                try groups.pipeline.send(work.budget.spent.bytes, to: later, tag: Self.budgetTag)
            }
        }
    }

    /// The stages that have some of these layers, in order.
    private func stagesOfLayers(_ linears: [LinearShape]) -> [Int] {
        let (blocks, names) = (run.model.architecture.blocks, Set(linears.map(\.name)))
        return run.inputs.stages.indices.filter { stage in
            blocks[run.inputs.stages[stage]].contains { block in
                block.linears.contains { names.contains(block.prefix + $0.spec.layerName) }
            }
        }
    }

    /// The bits of each layer for each of ``DigitBudget/drafts``, on the full-precision network's activations. Collective.
    private func drafts(_ places: [String: Int], _ counts: [Int]) throws -> [[Double]] {
        let levels = DigitBudget.drafts.count
        var table = [Double](repeating: 0, count: counts.count * levels)
        let work = DraftWork(
            places: places, counts: counts, weighting: config.ternary.weighting, sparsity: config.ternary.sparsity)
        try calibrate(.fullPrecision, Array(windows.prefix(Self.draftWindows)), work) { calibrated, dealt in
            for layer in dealt {
                guard let bits = layer.made, let place = places[calibrated.layers[layer.index].name] else { continue }
                table.replaceSubrange(place * levels..<(place + 1) * levels, with: bits)
            }
            return calibrated.layers.map(\.weight)
        }
        try groups.world.allReduce(&table, .sum)
        return counts.indices.map { Array(table[$0 * levels..<($0 + 1) * levels]) }
    }
}
