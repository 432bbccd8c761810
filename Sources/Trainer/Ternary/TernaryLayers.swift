package import Collectives
package import Parallelism
internal import Support
internal import TensorCore
package import TernarySVD

/// Decomposes layers of a stage, dealt to its replicas; each ends with all of the stage's factors, bit for bit the same.
/// Collective.
///
/// - Parameters:
///   - indices: which of the weights, such as ``ModelWeights/linears(matching:of:)`` gives.
///   - finished: where finished layers are kept, and found again by a run that was ended in the middle.
///   - eachRound: called every round of each own layer's decomposition; what it throws ends the decomposition on all ranks.
///   - progress: called with the number of own layers done and to do.
/// - Throws: on all ranks, the ``TernaryError`` of the first rank that has one.
package func decompose(
    _ weights: ModelWeights, _ indices: [Int], _ options: TernaryOptions, over groups: ParallelGroups<some Communicator>,
    keeping finished: FinishedLayers? = nil, eachRound: () throws -> Void = {}, progress: (Int, Int) -> Void = { _, _ in }
) throws -> [TernaryReport.Layer] {
    let owners = GreedyDispatch.owners(sizes: indices.map { weights[$0].count }, ranks: groups.dims.data)
    let own = indices.indices.filter { owners[$0] == groups.replica }
    let decompositions = try groups.world.agree {
        var results: [Int: TernaryDecomposition] = [:]
        for (done, layer) in own.enumerated() {
            let index = indices[layer]
            let (weight, name) = (weights[index], weights.layerName(index))
            func work() throws -> TernaryDecomposition {
                try TernaryDecomposition(weight, options, name: name) {
                    WorkProgress.note()
                    try StopRequest.check()
                    try eachRound()
                }
            }
            results[layer] = try finished?.decomposition(of: weight, name: name, or: work) ?? work()
            progress(done + 1, own.count)
        }
        return results
    }
    return try indices.enumerated().map { layer, index in
        let shared = try share(
            decompositions[layer], shape: weights[index].shape, options, from: owners[layer], over: groups.replicas)
        return TernaryReport.Layer(
            name: weights.layerName(index), factors: shared.factors, relativeError: Double(shared.relativeError))
    }
}

/// The owner's decomposition of a layer, packed, on every rank. Collective.
///
/// - Parameter own: nil on ranks other than the owner.
private func share(
    _ own: TernaryDecomposition?, shape: [Int], _ options: TernaryOptions, from owner: Int, over world: some Communicator
) throws -> (factors: TernaryFactors, relativeError: Float) {
    let (m, n) = (shape[0], shape[1])
    let rank = Int(try world.broadcast(Int64(own?.rank ?? 0), root: owner))
    let packed = own.map { TernaryFactors($0, tolerance: options.tolerance) }
    let u = try share(packed?.u, rows: m, columns: rank, from: owner, over: world)
    let v = try share(packed?.v, rows: rank, columns: n, from: owner, over: world)
    // The error, s, and a and b where balanced: all known by their lengths.
    var numbers = Tensor(zeros: [1 + rank + (options.balance ? m + n : 0)])
    if let own {
        numbers = Tensor([own.relativeError] + own.s.elements + (own.balance.map { $0.a + $0.b } ?? []), numbers.shape)
    }
    try world.broadcast(&numbers, root: owner)
    func part(_ start: Int, _ count: Int) -> [Float] { numbers.slice(start..<start + count).elements }
    let balance = options.balance ? Balance(a: part(1 + rank, m), b: part(1 + rank + m, n)) : nil
    let factors = TernaryFactors(u: u, s: part(1, rank), v: v, balance: balance, tolerance: options.tolerance)
    return (factors, numbers[flat: 0])
}

private func share(
    _ own: PackedTernary?, rows: Int, columns: Int, from owner: Int, over world: some Communicator
) throws -> PackedTernary {
    var bytes = own?.bytes ?? []
    try world.broadcast(&bytes, root: owner)
    guard let packed = PackedTernary(bytes: bytes, rows: rows, columns: columns) else {
        throw TrainingError.damagedFactors(rank: owner)
    }
    return packed
}
