package import Collectives
internal import Models
package import Parallelism
internal import Support
internal import TensorCore
internal import TernarySVD

/// Gathers the ternary layers of all stages on rank 0, which reports and writes them.
package enum StageLayers {
    /// Names, sizes and counts of a stage's layers are sent first, as JSON, then each layer's factors as ``TernaryCode``.
    private static let tag = 1

    /// - Returns: on rank 0 the layers of all stages, in the model's order; elsewhere those of this stage. Collective over the
    ///   pipeline.
    package static func gather(
        _ layers: [TernaryReport.Layer], _ groups: ParallelGroups<some Communicator>
    ) throws -> [TernaryReport.Layer] {
        guard groups.dims.pipeline > 1, groups.replica == 0 else { return layers }
        let codes = groups.isFirst ? [] : layers.map { TernaryCode.encode($0.factors) }
        let lists = try groups.pipeline.allGather(Array(list(layers, codes).text(.compact, sortedKeys: false).utf8))
        guard groups.isFirst else {
            for code in codes { try groups.pipeline.send(code, to: 0, tag: tag) }
            return layers
        }
        return try layers
            + lists.enumerated().dropFirst().flatMap { stage, bytes in
                try (JSONValue(parsing: bytes).array ?? []).map { try receive($0, from: stage, groups.pipeline) }
            }
    }

    private static func list(_ layers: [TernaryReport.Layer], _ codes: [[UInt8]]) -> JSONValue {
        .array(
            zip(layers, codes).map { layer, code -> JSONValue in
                [
                    "name": .string(layer.name), "rows": .integer(layer.factors.u.rows),
                    "columns": .integer(layer.factors.v.columns), "components": .integer(layer.factors.componentCount),
                    "tolerance": .double(Double(layer.factors.tolerance)), "bytes": .integer(code.count),
                    "error": .double(layer.relativeError), "sparsity": .string(layer.factors.sparsity.rawValue),
                    "weighted_error": layer.weightedError.map(JSONValue.double) ?? .null,
                    "branches": layer.branchCounts ?? .null,
                ]
            })
    }

    private static func receive(_ entry: JSONValue, from stage: Int, _ pipeline: some Communicator) throws
        -> TernaryReport.Layer
    {
        guard let name = entry["name"]?.string, let m = entry["rows"]?.integer, let n = entry["columns"]?.integer,
            let components = entry["components"]?.integer, let tolerance = entry["tolerance"]?.number,
            let sparsity = (entry["sparsity"]?.string).flatMap(TernarySparsity.init), let error = entry["error"]?.number,
            let bytes = entry["bytes"]?.integer
        else { throw TrainingError.damagedFactors(rank: stage) }
        let code = try pipeline.receive(bytes: bytes, from: stage, tag: tag)
        let factors = try TernaryFactors.decoded(
            code, shape: [m, n], components: components, tolerance: Float(tolerance), sparsity, from: stage)
        let branches = entry["branches"]?.object.map(JSONValue.object)
        return TernaryReport.Layer(
            name: name, factors: factors, relativeError: error, weightedError: entry["weighted_error"]?.number,
            branchCounts: branches)
    }
}
