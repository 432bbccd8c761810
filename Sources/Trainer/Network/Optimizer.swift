package import Collectives
package import Parallelism
internal import Runs
package import TensorCore

/// Applies an update rule to a model's weights: to all of them or, sharded, to this rank's slice.
///
/// Sharded (Rajbhandari et al., arXiv 1910.02054, stage 1), each rank keeps the rule's state for one contiguous slice of all
/// weights and updates these weights, and all-gathers, one a bucket, give every rank the others' slices. A weight's change
/// depends only on its own numbers, so that the result is the same to the bit.
package struct Optimizer {
    private let rule: UpdateRule
    private let decay: Float
    private let layout: BucketLayout
    /// The slice of all weights, in the layout's order, that this rank changes.
    private let owned: Range<Int>
    private let isSharded: Bool
    /// One tensor per number that the rule keeps, each of `owned.count` elements.
    private var state: [Tensor]
    private var number = 0

    package init(_ rule: UpdateRule, decay: Float, _ layout: BucketLayout, isSharded: Bool, over world: some Communicator) {
        self.rule = rule
        self.decay = decay
        self.layout = layout
        self.isSharded = isSharded && world.size > 1
        let owned = self.isSharded ? slice(of: layout.count, rank: world.rank, ranks: world.size) : 0..<layout.count
        self.owned = owned
        state = (0..<rule.statesPerWeight).map { _ in Tensor(zeros: [owned.count]) }
    }

    /// The rule's state for this rank's slice, weight by weight, so that a rank with another slice finds its own part.
    ///
    /// - Parameter names: names of the weights.
    func memory(_ names: [String]) -> TrainingState {
        var memory = TrainingState()
        for (index, tensor) in state.enumerated() {
            for (parameter, inParameter, inSlice) in pieces(of: owned) {
                memory.stretches[Self.name(index, names[parameter])] = TrainingState.Stretch(
                    first: inParameter.lowerBound, of: tensor, inSlice..<inSlice + inParameter.count)
            }
        }
        memory.ownsStretches = isSharded
        memory.numbers["optimizer.steps"] = Double(number)
        return memory
    }

    private static func name(_ index: Int, _ weight: String) -> String { "optimizer.\(index) of \(weight)" }

    mutating func restore(_ memory: TrainingState, _ names: [String]) throws(CheckpointError) {
        for index in state.indices {
            // Earlier versions kept a rank's slice in one piece.
            if let slice = try memory.optionalTensor("optimizer.\(index)") {
                guard !memory.isOfOtherLayout, slice.shape == state[index].shape else {
                    throw .lacks("state of the optimizer by weight")
                }
                state[index] = slice
                continue
            }
            let target = state[index].mutablePointer
            for piece in pieces(of: owned) {
                try memory.read(Self.name(index, names[piece.parameter]), piece.inParameter, into: target + piece.inSlice)
            }
        }
        number = try memory.count("optimizer.steps")
    }

    /// Bytes that this rank sends in a step.
    package var bytesPerStep: Int { isSharded ? owned.count * MemoryLayout<Float>.stride : 0 }

    /// One step. Collective when sharded.
    ///
    /// - Parameters:
    ///   - gradients: a tensor per bucket, summed over ranks; of at least the layout's elements. Where sharded, what they
    ///     hold afterwards is of no use: weights travel in their memory.
    ///   - gradientScale: factor on them (see ``clippingFactor(norm:limit:)``).
    package mutating func step(
        _ weights: inout ModelWeights<Tensor>, gradients: inout [Tensor], learningRate: Float, gradientScale: Float,
        over world: some Communicator
    ) throws(MPIError) {
        number += 1
        let step = rule.step(number: number, rate: learningRate, gradientScale: gradientScale)
        let states = state.indices.map { state[$0].mutablePointer }
        for (parameter, inParameter, inSlice) in pieces(of: owned) {
            let place = layout.places[parameter]
            let decay = weights.decays(parameter) ? decay : 0
            rule.apply(
                step, decay: decay, weights: weights[parameter].mutablePointer + inParameter.lowerBound,
                gradients: gradients[place.bucket].pointer + place.offset + inParameter.lowerBound,
                state: states.map { $0 + inSlice }, count: inParameter.count)
        }
        if isSharded { try share(&weights, in: &gradients, over: world) }
    }

    /// Gives every rank the weights that the others have updated, bucket by bucket in the memory of the gradients.
    private func share(
        _ weights: inout ModelWeights<Tensor>, in buckets: inout [Tensor], over world: some Communicator
    ) throws(MPIError) {
        let slices = (0..<world.size).map { slice(of: layout.count, rank: $0, ranks: world.size) }
        var first = 0
        for (index, count) in layout.bucketCounts.enumerated() {
            let bucket = first..<first + count
            let parts = slices.map { $0.clamped(to: bucket) }
            let target = buckets[index].mutablePointer
            for piece in pieces(of: parts[world.rank]) {
                let source = weights[piece.parameter].pointer + piece.inParameter.lowerBound
                Team.copy(
                    source, to: target + parts[world.rank].lowerBound - first + piece.inSlice, piece.inParameter.count)
            }
            try world.allGather(&buckets[index], counts: parts.map(\.count))
            for (rank, part) in parts.enumerated() where rank != world.rank {
                for piece in pieces(of: part) {
                    let goal = weights[piece.parameter].mutablePointer + piece.inParameter.lowerBound
                    Team.copy(target + part.lowerBound - first + piece.inSlice, to: goal, piece.inParameter.count)
                }
            }
            first += count
        }
    }

    /// The parameters that overlap a slice of all weights, each with the overlapping part and its beginning in the slice.
    private func pieces(of slice: Range<Int>) -> [(parameter: Int, inParameter: Range<Int>, inSlice: Int)] {
        var (first, result) = (0, [(parameter: Int, inParameter: Range<Int>, inSlice: Int)]())
        guard !slice.isEmpty else { return result }
        for (parameter, place) in layout.places.enumerated() {
            let part = slice.clamped(to: first..<first + place.count)
            if !part.isEmpty {
                result.append(
                    (parameter, part.lowerBound - first..<part.upperBound - first, part.lowerBound - slice.lowerBound))
            }
            first += place.count
        }
        return result
    }
}

/// min(1, limit/‖g‖) (Pascanu et al., arXiv 1211.5063); 1 without a limit.
package func clippingFactor(norm: Double, limit: Double?) -> Double {
    guard let limit, norm > limit else { return 1 }
    return limit / norm
}
