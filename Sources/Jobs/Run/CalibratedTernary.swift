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

/// Ternary layers that are made by what a calibration text shows of their inputs.
struct CalibratedTernary<World: Communicator> {
    private let run: LanguageModelRun<World>
    private let original: ModelWeights<StoredTensor>
    /// The layers that become ternary, in the model's order.
    private let names: [String]
    private let windows: [[Int32]]

    /// Rounds of ``WeightedDescent``.
    private static var rounds: Int { 6 }
    /// Windows that drafts of digits are made on.
    private static var draftWindows: Int { 32 }
    /// What a file takes for a layer besides its code, at most about: entries of the header.
    private static var headerBytes: Int { 400 }
    /// Of the budget, so that what the last layer takes more than was thought does not exceed it.
    private static var margin: Double { 0.002 }

    private var config: RunConfig { run.context.config }
    private var groups: ParallelGroups<World> { run.context.groups }

    /// - Parameter indices: of this stage's layers. Collective.
    init(_ run: LanguageModelRun<World>, _ original: ModelWeights<StoredTensor>, _ indices: [Int]) throws {
        (self.run, self.original) = (run, original)
        names = indices.map(original.layerName)
        windows = try run.calibrationWindows(drawingFrom: original.parameters)
    }

    /// Goes through the blocks; the layers that read one hook point are dealt to the replicas. Collective.
    ///
    /// - Parameters:
    ///   - prepare: what layers of the same inputs share.
    ///   - work: makes one layer, on its owner; nil: it is only looked at, and stays as it is.
    ///   - done: called on all replicas with the layers of a hook point.
    private func calibrated<Norm>(
        _ mode: CalibrationMode, _ windows: [[Int32]], _ verb: String, prepare: (InputStatistics) throws -> Norm,
        work: (CalibratedLayers.Layer, Norm) throws -> TernaryReport.Layer?, done: ([TernaryReport.Layer]) -> Void = { _ in }
    ) throws -> [TernaryReport.Layer] {
        var results: [String: TernaryReport.Layer] = [:]
        var seen = 0
        try Calibration(run.model, groups, mode: mode).run(
            original.parameters, windows: windows, hooks: IdentityHooks()
        ) { calibrated in
            var new = calibrated.layers.map(\.weight)
            let chosen = calibrated.layers.indices.filter { names.contains(calibrated.layers[$0].name) }
            guard let first = chosen.first else { return new }
            let owners = GreedyDispatch.owners(sizes: chosen.map { new[$0].count }, ranks: groups.dims.data)
            let own = try groups.replicas.agree {
                let norm = try naming(calibrated.layers[first].name) { try prepare(calibrated.statistics) }
                return try Team.map(chosen.count) { place, _ in
                    guard owners[place] == groups.replica else { return TernaryReport.Layer?.none }
                    let layer = calibrated.layers[chosen[place]]
                    return try naming(layer.name) { try work(layer, norm) }
                }
            }
            seen += chosen.count
            run.context.reporter.progress(verb, seen, of: names.count)
            // Either all owners have made theirs, or none.
            guard try groups.replicas.allReduce(Int64(own.count { $0 != nil }), .sum) > 0 else { return new }
            var made: [TernaryReport.Layer] = []
            for (place, index) in chosen.enumerated() {
                let layer = calibrated.layers[index]
                let shared = try TernaryReport.Layer.shared(
                    own[place], name: layer.name, shape: layer.weight.shape, config.ternary.sparsity, from: owners[place],
                    over: groups.replicas)
                made.append(shared)
                results[layer.name] = shared
                new[index] = shared.factors.unpacked()
            }
            done(made)
            return new
        }
        return names.compactMap { results[$0] }
    }

    /// Does work on a layer; what goes wrong names it.
    private func naming<Result>(_ layer: String, _ work: () throws -> Result) throws -> Result {
        do {
            return try work()
        } catch let error as any ReportableError {
            throw CalibrationError.layer(layer, error)
        }
    }

    private func pulse() throws {
        WorkProgress.note()
        try StopRequest.check()
    }
}

// MARK: - Descent

extension CalibratedTernary {
    /// Layers whose factors have been changed for the error of the layers' outputs. Collective.
    func descending(from layers: [TernaryReport.Layer]) throws -> [TernaryReport.Layer] {
        let starts = Dictionary(uniqueKeysWithValues: layers.map { ($0.name, $0) })
        return try calibrated(config.calibration.mode, windows, "descending", prepare: { try OutputNorm($0) }) { layer, norm in
            guard let start = starts[layer.name] else { return nil }
            var descent = WeightedDescent(
                layer.weight, start.factors.decomposition(error: Float(start.relativeError)), norm, config.ternary.weighting,
                sparsity: config.ternary.sparsity)
            try descent.run(rounds: Self.rounds, eachStep: pulse)
            let factors = TernaryFactors(
                descent.decomposition(), tolerance: start.factors.tolerance, sparsity: config.ternary.sparsity)
            return TernaryReport.Layer(
                name: layer.name, factors: factors, relativeError: try factors.relativeError(layer.weight),
                weightedError: descent.relativeError)
        }
    }
}

// MARK: - Digits

extension CalibratedTernary {
    /// Layers as whole numbers with ternary digits that together take so many bits a weight. Collective.
    ///
    /// - Throws: ``ConfigurationError`` where they cannot.
    func digits(bits: Double) throws -> [TernaryReport.Layer] {
        let linears = try config.ternary.layers.choose(among: run.model.architecture.linears)
        let places = Dictionary(uniqueKeysWithValues: linears.enumerated().map { ($1.name, $0) })
        let counts = linears.map { $0.shape[0] * $0.shape[1] }
        let drafts = try drafts(places, counts)
        let headers = Double(8 * Self.headerBytes * linears.count)
        var budget: DigitBudget
        do {
            budget = try DigitBudget(
                counts: counts, bits: drafts, total: (1 - Self.margin) * bits * Double(counts.reduce(0, +)) - headers,
                own: Set(names.compactMap { places[$0] }))
        } catch {
            let extra = headers / Double(counts.reduce(0, +))
            let ends = [error.least, error.most].map { ($0 + extra).formatted(decimals: 2) }
            throw ConfigurationError("ternary.bits", "must be from \(ends[0]) to \(ends[1]) for these layers")
        }
        return try calibrated(
            config.calibration.mode, windows, "choosing digits", prepare: { try DigitNorm($0) },
            work: { layer, norm in
                guard let place = places[layer.name] else { return nil }
                let digits = TernaryDigits(
                    layer.weight, norm, config.ternary.weighting, sparsity: config.ternary.sparsity)
                let result = try digits.factors(epsilon: budget.epsilon(place), eachStep: pulse)
                return TernaryReport.Layer(
                    name: layer.name, factors: result.factors, relativeError: try result.factors.relativeError(layer.weight),
                    weightedError: result.relativeError)
            },
            done: { layers in
                for layer in layers {
                    guard let place = places[layer.name] else { continue }
                    budget.note(place, bits: Double(8 * TernaryCode.encode(layer.factors).count))
                }
            })
    }

    /// What each layer takes for each of ``DigitBudget/drafts``, on the full-precision network's activations. Collective.
    private func drafts(_ places: [String: Int], _ counts: [Int]) throws -> [[Double]] {
        let levels = DigitBudget.drafts
        var table = [Double](repeating: 0, count: counts.count * levels.count)
        _ = try calibrated(
            .fullPrecision, Array(windows.prefix(Self.draftWindows)), "drafting", prepare: { try DigitNorm($0) },
            work: { layer, norm in
                guard let place = places[layer.name] else { return nil }
                let digits = TernaryDigits(
                    layer.weight, norm, config.ternary.weighting, sparsity: config.ternary.sparsity)
                for (index, level) in levels.enumerated() {
                    try pulse()
                    table[place * levels.count + index] = digits.draftedBits(
                        epsilon: DigitBudget.epsilon(level, place, of: counts))
                }
                return nil
            })
        try groups.world.allReduce(&table, .sum)
        return counts.indices.map { Array(table[$0 * levels.count..<($0 + 1) * levels.count]) }
    }
}
