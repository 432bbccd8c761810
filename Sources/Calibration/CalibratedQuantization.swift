internal import Collectives
package import Models
internal import Parallelism
package import Quantization
internal import Support
package import TensorCore

extension Parameters where Value: TensorValue {
    /// The parameters with these linears, by their names without `.weight`, as the floats that their integers stand for.
    package func dequantized(_ weights: [String: QuantizedWeight]) -> Parameters<Tensor> {
        map { name, value in weights[String(name.dropLast(".weight".count))]?.dequantized() ?? value.tensor }
    }
}

extension Calibration {
    /// Chooses the integers of the stage's linear layers, each calibrated as ``mode`` says. Collective.
    ///
    /// Where rows do not depend on each other, the replicas share those of each layer, and all have the result. A method that
    /// reads no inputs needs no pass through the network.
    ///
    /// - Parameters:
    ///   - windows: of all replicas, of equal lengths.
    ///   - hooks: what else happens at hook points, such as the rounding of activations.
    ///   - exact: the same without rounding, for methods that look at how far inputs are from the full-precision network's.
    ///   - finished: where finished layers are kept, and found again by a run that was ended in the middle.
    ///   - quantizer: bits and groups of a layer, by its name; nil leaves it as it is.
    /// - Returns: the integers, by the layers' names without `.weight`.
    /// - Throws: `AgreedError` of a `CalibrationError`; what ``run(_:windows:hooks:exact:replace:)`` throws.
    package func quantize<Hooks: HookTransform>(
        _ parameters: Parameters<some TensorValue>, windows: [[Int32]], hooks: Hooks, exact: Hooks? = nil,
        by method: some WeightQuantization, keeping finished: FinishedIntegers? = nil,
        quantizer: (_ layer: String) -> WeightQuantizer?
    ) throws -> [String: QuantizedWeight] {
        precondition(method.inputs.map { $0 <= depth } ?? true, "\(method.name) needs more than \(depth)")
        var weights: [String: QuantizedWeight] = [:]
        guard method.inputs != nil else {
            // A stage may fail at its layers.
            try groups.world.agree {
                _ = try parameters.mapSpecs { name, spec, value in
                    let layer = String(name.dropLast(".weight".count))
                    guard spec.ports != nil, let own = quantizer(layer) else { return }
                    weights[layer] = try layerErrors(of: [layer]) { try method.quantize(value.tensor, nil, own) }
                }
            }
            return weights
        }
        try run(parameters, windows: windows, hooks: hooks, exact: exact) { calibrated in
            var new = calibrated.layers.map(\.weight)
            // Layers of the same bits and groups share what is made of their inputs.
            var open = calibrated.layers.indices.filter { quantizer(calibrated.layers[$0].name) != nil }
            while let first = open.first, let shared = quantizer(calibrated.layers[first].name) {
                let chosen = open.filter { quantizer(calibrated.layers[$0].name) == shared }
                open.removeAll(where: chosen.contains)
                let names = chosen.map { calibrated.layers[$0].name }
                let quantized = try kept(by: finished, names, calibrated, method, shared) { statistics in
                    try layerErrors(of: names) { try self.shared(chosen.map { new[$0] }, statistics, method, shared) }
                }
                for (index, weight) in zip(chosen, quantized) {
                    weights[calibrated.layers[index].name] = weight
                    new[index] = weight.dequantized()
                }
            }
            return new
        }
        return weights
    }

    /// The layers from their files, or by `work`, which are then kept.
    private func kept(
        by finished: FinishedIntegers?, _ names: [String], _ calibrated: CalibratedLayers, _ method: some WeightQuantization,
        _ quantizer: WeightQuantizer, or work: (InputStatistics) throws -> [QuantizedWeight]
    ) throws -> [QuantizedWeight] {
        guard let finished else { return try work(calibrated.statistics()) }
        let shapes = calibrated.layers.filter { names.contains($0.name) }.map(\.weight.shape)
        let settings = "\(method) \(quantizer)"
        let found = zip(names, shapes).map { finished.weight($0, $1, calibrated.origin, settings, quantizer.spec) }
        let weights = found.compactMap(\.self)
        // A replica on another machine may find none.
        let areMissing = Int64(weights.count == names.count ? 0 : 1)
        guard try groups.replicas.allReduce(areMissing, .sum) > 0 else { return weights }
        let made = try work(calibrated.statistics())
        // All stages learn of it from the pass through the blocks.
        try groups.replicas.agree {
            guard groups.replicas.isRoot else { return }
            for (name, weight) in zip(names, made) { try finished.keep(weight, name, calibrated.origin, settings) }
        }
        return made
    }

    private func layerErrors<Result>(of names: [String], _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as any ReportableError {
            if error is MPIError { throw error }
            throw CalibrationError.layer(names.joined(separator: ", "), error)
        }
    }

    /// This replica's share of the rows, and all others' put together.
    private func shared(
        _ weights: [Tensor], _ statistics: InputStatistics, _ method: some WeightQuantization, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight] {
        let replicas = groups.replicas
        guard replicas.size > 1, method.isByRow(quantizer.spec) else {
            return try method.quantize(weights, statistics, quantizer)
        }
        // All replicas fail where one would.
        let own = try replicas.agree {
            try method.check(weights, quantizer.spec)
            return try method.quantize(weights.map { $0.rows(Self.share(of: $0.rows, replicas)) }, statistics, quantizer)
        }
        return try zip(weights, own).map { weight, part in
            let codes = try replicas.allGatherRows(Tensor(part.codes.map(Float.init), part.shape))
            return QuantizedWeight(
                codes: codes.elements.map { Int16($0) }, scales: try replicas.allGatherRows(part.scales),
                zeros: try replicas.allGatherRows(part.zeros), shape: weight.shape, spec: part.spec,
                columnGroups: part.columnGroups)
        }
    }

    private static func share(of rows: Int, _ replicas: World) -> Range<Int> {
        rows * replicas.rank / replicas.size..<rows * (replicas.rank + 1) / replicas.size
    }
}
