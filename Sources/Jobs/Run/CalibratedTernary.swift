internal import Calibration
internal import Collectives
internal import Configuration
internal import Models
internal import Parallelism
internal import Runs
internal import Support
internal import TensorCore
internal import TernarySVD
internal import Trainer

extension LanguageModelRun {
    /// Rounds of ``WeightedDescent``.
    private static var rounds: Int { 6 }

    /// Ternary layers whose factors have been changed for the error of the layers' outputs, one hook point after the other.
    /// Those that read the same point are dealt to the replicas. Collective.
    func descending(from layers: [TernaryReport.Layer], of original: ModelWeights) throws -> [TernaryReport.Layer] {
        let (config, groups) = (context.config, context.groups)
        let starts = Dictionary(uniqueKeysWithValues: layers.map { ($0.name, $0) })
        let windows = try calibrationWindows(drawingFrom: original.parameters)
        var results: [String: TernaryReport.Layer] = [:]
        try Calibration(model, groups, mode: config.calibration.mode).run(
            original.parameters, windows: windows, hooks: IdentityHooks()
        ) { calibrated in
            var new = calibrated.layers.map(\.weight)
            let chosen = calibrated.layers.filter { starts[$0.name] != nil }
            guard !chosen.isEmpty else { return new }
            let owners = GreedyDispatch.owners(sizes: chosen.map(\.weight.count), ranks: groups.dims.data)
            let own = try groups.replicas.agree {
                let norm = try naming(chosen[0].name) { try OutputNorm(calibrated.statistics) }
                return try zip(chosen, owners).map { layer, owner in
                    guard owner == groups.replica, let start = starts[layer.name] else { return TernaryReport.Layer?.none }
                    return try naming(layer.name) { try descended(from: start, layer.weight, norm) }
                }
            }
            for (place, layer) in chosen.enumerated() {
                let shared = try TernaryReport.Layer.shared(
                    own[place], name: layer.name, shape: layer.weight.shape, tolerance: Float(config.ternary.tolerance),
                    from: owners[place], over: groups.replicas)
                results[layer.name] = shared
                if let index = calibrated.layers.firstIndex(where: { $0.name == layer.name }) {
                    new[index] = shared.factors.unpacked()
                }
            }
            context.reporter.progress("descending", results.count, of: layers.count)
            return new
        }
        return layers.map { results[$0.name] ?? $0 }
    }

    private func descended(
        from start: TernaryReport.Layer, _ weight: Tensor, _ norm: OutputNorm
    ) throws -> TernaryReport.Layer {
        let weighting = context.config.ternary.weighting
        var descent = WeightedDescent(weight, start.factors.decomposition(error: Float(start.relativeError)), norm, weighting)
        try descent.run(rounds: Self.rounds) {
            WorkProgress.note()
            try StopRequest.check()
        }
        let factors = TernaryFactors(descent.decomposition(), tolerance: start.factors.tolerance)
        return TernaryReport.Layer(
            name: start.name, factors: factors, relativeError: try factors.relativeError(weight),
            weightedError: descent.relativeError)
    }

    /// Does work on a layer; what goes wrong names it.
    private func naming<Result>(_ layer: String, _ work: () throws -> Result) throws -> Result {
        do {
            return try work()
        } catch let error as any ReportableError {
            throw CalibrationError.layer(layer, error)
        }
    }
}
