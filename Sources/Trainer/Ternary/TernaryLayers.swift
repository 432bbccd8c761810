package import Collectives
package import Parallelism
internal import Support
internal import Synchronization
package import TensorCore
package import TernarySVD

/// Decomposes layers of a stage. Layers are dealt to its replicas, whose threads take them one by one. Each replica ends with
/// all of the stage's factors, bit for bit the same. Collective.
///
/// - Parameters:
///   - indices: indices of the weights, such as those from ``ModelWeights/linears(matching:of:)``.
///   - finished: where finished layers are kept, and found again by an interrupted run.
///   - eachRound: called every round of each own layer's decomposition, on any thread. An error that it throws ends the
///     decomposition on all ranks.
///   - progress: called with the number of own layers that are done, and the number of all own layers.
/// - Throws: on all ranks, the ``TernaryError`` of the first rank that has one.
package func decompose(
    _ weights: ModelWeights<some TensorValue>, _ indices: [Int], _ options: TernaryOptions,
    over groups: ParallelGroups<some Communicator>,
    keeping finished: FinishedLayers? = nil, eachRound: () throws -> Void = {}, progress: (Int, Int) -> Void = { _, _ in }
) throws -> [TernaryReport.Layer] {
    let layers = indices.map { (name: weights.layerName($0), size: weights[$0].shape.reduce(1, *)) }
    let owners = GreedyDispatch.owners(layers: layers, ranks: groups.dims.data)
    let own = indices.indices.filter { owners[$0] == groups.replica }
    let decompositions = try groups.world.agree {
        let done = Atomic<Int>(0)
        let made = try Team.map(own.count, costs: own.map { layers[$0].size }) { place, isCaller in
            let layer = own[place]
            let index = indices[layer]
            let (weight, name) = (weights[index].tensor, weights.layerName(index))
            func work() throws -> TernaryDecomposition {
                try TernaryDecomposition(weight, options, name: name) {
                    WorkProgress.note()
                    try StopRequest.check()
                    try eachRound()
                }
            }
            let result = try Trace.span(.decompose, layer) {
                try finished?.decomposition(of: weight, name: name, or: work) ?? work()
            }
            let count = done.add(1, ordering: .relaxed).newValue
            if isCaller { progress(count, own.count) }
            return result
        }
        return Dictionary(uniqueKeysWithValues: zip(own, made))
    }
    return try indices.enumerated().map { layer, index in
        let (own, owner) = (decompositions[layer], owners[layer])
        return try TernaryReport.Layer.shared(
            own.map {
                TernaryReport.Layer(
                    name: weights.layerName(index),
                    factors: TernaryFactors($0, tolerance: options.tolerance, sparsity: options.sparsity),
                    relativeError: Double($0.relativeError))
            }, name: weights.layerName(index), shape: weights[index].shape, options.sparsity, from: owner,
            over: groups.replicas)
    }
}

extension TernaryReport.Layer {
    /// The owner's layer, on every rank. Collective.
    ///
    /// - Parameters:
    ///   - own: nil on ranks other than the owner.
    ///   - shape: shape of the layer's weight.
    ///   - sparsity: sparsity of the factors, on all ranks.
    package static func shared(
        _ own: Self?, name: String, shape: [Int], _ sparsity: TernarySparsity, from owner: Int, over world: some Communicator
    ) throws -> Self {
        // Encoding takes a part of the decomposition's time, and is skipped where no other rank needs the factors.
        if world.size == 1, let own { return own }
        let components = Int(try world.broadcast(Int64(own?.factors.componentCount ?? 0), root: owner))
        var code = own.map { TernaryCode.encode($0.factors) } ?? []
        try world.broadcast(&code, root: owner)
        // -1 stands for no weighted error.
        var numbers = [own?.relativeError ?? 0, own?.weightedError ?? -1, Double(own?.factors.tolerance ?? 0)]
        try numbers.withUnsafeMutableBufferPointer { data throws(MPIError) in
            try world.broadcast(UnsafeMutableRawBufferPointer(data), root: owner)
        }
        if let own { return own }
        return Self(
            name: name,
            factors: try .decoded(
                code, shape: shape, components: components, tolerance: Float(numbers[2]), sparsity, from: owner),
            relativeError: numbers[0], weightedError: numbers[1] < 0 ? nil : numbers[1])
    }
}

extension TernaryFactors {
    /// Factors that another rank has sent.
    static func decoded(
        _ code: [UInt8], shape: [Int], components: Int, tolerance: Float, _ sparsity: TernarySparsity, from owner: Int
    ) throws -> TernaryFactors {
        do {
            return try TernaryCode.decode(
                code, rows: shape[0], componentCount: components, columns: shape[1], tolerance: tolerance, form: "linear",
                sparsity: sparsity)
        } catch {
            throw TrainingError.damagedFactors(rank: owner)
        }
    }
}
