internal import Collectives
internal import Models
internal import Parallelism
internal import TensorCore

/// A matrix that is both embedding and head: where a stage has it, and how its two gradients are added.
///
/// Both are first summed over all micro-batches and replicas, then added. A single stage keeps them apart until then, as two
/// stages do. On two stages the copies of the matrix stay equal because they take equal steps.
struct TiedEmbedding {
    private enum Place {
        /// Not tied, or held by other stages.
        case elsewhere
        /// One stage has both table and head.
        case whole(index: Int, count: Int)
        case table(index: Int)
        case head(index: Int)
    }
    private let place: Place

    /// Collective over `pipeline`.
    ///
    /// - Parameter parameters: parameters of this rank's stage. Only the last stage knows whether the embedding is also the
    ///   head.
    init(_ parameters: Parameters<Tensor>, _ weights: ModelWeights<Tensor>, _ pipeline: some Communicator) throws(MPIError) {
        let isTied =
            try pipeline.broadcast(Int64(parameters.isLast && parameters.tiesHead ? 1 : 0), root: pipeline.size - 1) == 1
        guard isTied, let index = weights.embedding else {
            place = .elsewhere
            return
        }
        switch (parameters.isFirst, parameters.isLast) {
        case (true, true): place = .whole(index: index, count: weights[index].count)
        case (true, false): place = .table(index: index)
        case (false, true): place = .head(index: index)
        default: place = .elsewhere
        }
    }

    /// Elements of a gradient that is kept in addition to those of the weights.
    var extraCounts: [Int] { if case .whole(_, let count) = place { [count] } else { [] } }
    /// The master weight that one stage uses as table and as head.
    var tableAndHead: Int? { if case .whole(let index, _) = place { index } else { nil } }
    /// The master weight that is a copy of another stage's.
    var copy: Int? { if case .head(let index) = place { index } else { nil } }

    /// Adds the other gradient to this stage's. Collective over `pipeline`.
    func join(_ gradients: inout [Tensor], _ layout: BucketLayout, _ pipeline: some Communicator) throws(MPIError) {
        switch place {
        case .elsewhere: break
        case .whole(let index, _):
            let head = layout.places[layout.places.count - 1]
            let target = gradients[layout.places[index].bucket].mutablePointer
            // Another place, whether or not of the same bucket.
            add(gradients[head.bucket].pointer + head.offset, to: target, layout.places[index])
        case .table(let index): try exchange(&gradients, layout.places[index], pipeline, with: pipeline.size - 1)
        case .head(let index): try exchange(&gradients, layout.places[index], pipeline, with: 0)
        }
    }

    private func exchange(
        _ gradients: inout [Tensor], _ place: BucketLayout.Place, _ pipeline: some Communicator, with peer: Int
    ) throws(MPIError) {
        let receiving = try pipeline.startReceive([place.count], from: peer)
        let target = gradients[place.bucket].mutablePointer
        // From the bucket itself, which changes once the message is gone.
        let own = UnsafeRawBufferPointer(UnsafeBufferPointer(start: target + place.offset, count: place.count))
        _ = try pipeline.startSend(own, of: gradients[place.bucket], to: peer, tag: 0).wait()
        let part = try receiving.wait()
        add(part.pointer, to: target, place)
    }

    private func add(_ part: UnsafePointer<Float>, to bucket: UnsafeMutablePointer<Float>, _ place: BucketLayout.Place) {
        Team.add(part, to: bucket + place.offset, place.count)
    }
}

extension BucketLayout {
    /// Σ g² of one parameter's gradient.
    func squaredNorm(of parameter: Int, in gradients: [Tensor]) -> Double {
        let place = places[parameter]
        return Team.sumOfSquares(gradients[place.bucket].pointer + place.offset, place.count)
    }
}
