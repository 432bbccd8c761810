package import Collectives
internal import Models
package import Parallelism
internal import Support
internal import TensorCore
internal import TernarySVD

/// The ternary layers of all stages brought together on rank 0, which reports and writes them.
package enum StageLayers {
    /// Names, sizes and counts of a stage's layers go ahead as JSON; then each layer's numbers and its packed factors.
    private enum Tag {
        static let list = 0, numbers = 1, factors = 2
    }

    /// - Returns: on rank 0 the layers of all stages, in the model's order; elsewhere those of this stage. Collective over the
    ///   pipeline.
    package static func gather(
        _ layers: [TernaryReport.Layer], _ groups: ParallelGroups<some Communicator>
    ) throws -> [TernaryReport.Layer] {
        guard groups.dims.pipeline > 1, groups.replica == 0 else { return layers }
        let lists = try groups.pipeline.allGather(Array(list(layers).text(.compact, sortedKeys: false).utf8))
        guard groups.isFirst else {
            for layer in layers { try send(layer, groups.pipeline) }
            return layers
        }
        return try layers
            + lists.enumerated().dropFirst().flatMap { stage, bytes in
                try (JSONValue(parsing: bytes).array ?? []).map { try receive($0, from: stage, groups.pipeline) }
            }
    }

    private static func list(_ layers: [TernaryReport.Layer]) -> JSONValue {
        .array(
            layers.map { layer -> JSONValue in
                [
                    "name": .string(layer.name), "rows": .integer(layer.factors.u.rows),
                    "columns": .integer(layer.factors.v.columns),
                    "rank": .integer(layer.factors.rank), "balanced": .bool(layer.factors.balance != nil),
                    "bytes_u": .integer(layer.factors.u.bytes.count), "bytes_v": .integer(layer.factors.v.bytes.count),
                    "error": .double(layer.relativeError), "branches": layer.branchCounts ?? .null,
                ]
            })
    }

    private static func send(_ layer: TernaryReport.Layer, _ pipeline: some Communicator) throws(MPIError) {
        let factors = layer.factors
        let numbers =
            [factors.tolerance] + factors.s + (factors.balance.map { $0.a + $0.b } ?? [])
        try pipeline.send(Tensor(numbers, [numbers.count]), to: 0, tag: Tag.numbers)
        for factor in [factors.u, factors.v] { try pipeline.send(factor.bytes, to: 0, tag: Tag.factors) }
    }

    private static func receive(_ entry: JSONValue, from stage: Int, _ pipeline: some Communicator) throws
        -> TernaryReport.Layer
    {
        guard let name = entry["name"]?.string, let m = entry["rows"]?.integer, let n = entry["columns"]?.integer,
            let rank = entry["rank"]?.integer, let isBalanced = entry["balanced"]?.bool, let error = entry["error"]?.number,
            let bytesOfU = entry["bytes_u"]?.integer, let bytesOfV = entry["bytes_v"]?.integer
        else { throw TrainingError.damagedFactors(rank: stage) }
        let numbers = try pipeline.receive([1 + rank + (isBalanced ? m + n : 0)], from: stage, tag: Tag.numbers)
        func part(_ start: Int, _ count: Int) -> [Float] { numbers.slice(start..<start + count).elements }
        func packed(_ rows: Int, _ columns: Int, bytes: Int) throws -> PackedTernary {
            let bytes = try pipeline.receive(bytes: bytes, from: stage, tag: Tag.factors)
            guard let packed = PackedTernary(bytes: bytes, rows: rows, columns: columns) else {
                throw TrainingError.damagedFactors(rank: stage)
            }
            return packed
        }
        let factors = TernaryFactors(
            u: try packed(m, rank, bytes: bytesOfU), s: part(1, rank), v: try packed(rank, n, bytes: bytesOfV),
            balance: isBalanced ? Balance(a: part(1 + rank, m), b: part(1 + rank + m, n)) : nil, tolerance: numbers[flat: 0])
        let branches = entry["branches"]?.object.map(JSONValue.object)
        return TernaryReport.Layer(name: name, factors: factors, relativeError: error, branchCounts: branches)
    }
}
