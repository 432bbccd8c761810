internal import Autograd
package import Collectives
package import Models
package import Parallelism
internal import TensorCore

/// Sequences that the model itself draws where no text is given: calibration without data (LLM-QAT, arXiv 2305.17888).
package enum SampledTokens {
    /// Sequences drawn together. Fixed, since the numbers of a product depend by rounding on its size: any number of ranks
    /// draws the same tokens.
    package static let chunk = 16

    /// Chunks are dealt to the replicas; in each, as many as there are stages are under way at once, so that every stage has
    /// one to work on. Collective.
    ///
    /// - Parameters:
    ///   - stream: streams `stream ..< stream + count` of the seed are used.
    ///   - network: of this rank's stage.
    /// - Returns: `count` sequences of `length` tokens, the same on every rank.
    package static func draw(
        _ count: Int, length: Int, first: Int32, seed: UInt64, stream: UInt64, from network: Network<IdentityHooks>,
        _ groups: ParallelGroups<some Communicator>, progress: (Int) -> Void
    ) throws -> [[Int32]] {
        let replicas = groups.dims.data
        let chunks = (0..<(count + chunk - 1) / chunk).map { $0 * chunk..<min(($0 + 1) * chunk, count) }
        func share(of replica: Int) -> [Range<Int>] {
            stride(from: replica, to: chunks.count, by: replicas).map { chunks[$0] }
        }
        let own = share(of: groups.replica)
        var drawn: [Int32] = []
        let ring = TokenRing(groups.pipeline)
        // The first replica has the most; all look as often whether one was asked to stop.
        for begin in stride(from: 0, to: share(of: 0).count, by: groups.dims.pipeline) {
            try StopRequest.check(on: groups.world)
            guard begin < own.count else { continue }
            let group = own[begin..<min(begin + groups.dims.pipeline, own.count)]
            let parts = group.map { sequences in
                SequenceDrawing(
                    network.model, network.parameters, length: length, seed: seed,
                    streams: stream + UInt64(sequences.lowerBound)..<stream + UInt64(sequences.upperBound))
            }
            drawn += try ring.draw(
                parts, sizes: group.map(\.count), first: first, length: length, hidden: network.model.architecture.hiddenSize)
            progress(min(count, (begin + group.count) * replicas * chunk))
        }
        var result = [[Int32]](repeating: [], count: count)
        for (replica, tokens) in try exchange(drawn, groups).enumerated() {
            for (place, sequence) in share(of: replica).joined().enumerated() {
                result[sequence] = Array(tokens[place * length..<(place + 1) * length])
            }
        }
        return result
    }

    /// Every replica's tokens, by replica, from its last stage.
    private static func exchange(_ tokens: [Int32], _ groups: ParallelGroups<some Communicator>) throws -> [[Int32]] {
        var lengths: [Int64] = []
        var bytes: [UInt8] = []
        if groups.isLast {
            let parts = try groups.replicas.allGather(
                tokens.flatMap { token in (0..<4).map { UInt8(truncatingIfNeeded: token >> ($0 * 8)) } })
            lengths = parts.map { Int64($0.count) }
            bytes = Array(parts.joined())
        }
        let last = groups.dims.pipeline - 1
        if !groups.isLast { lengths = [Int64](repeating: 0, count: groups.dims.data) }
        for replica in lengths.indices { lengths[replica] = try groups.pipeline.broadcast(lengths[replica], root: last) }
        try groups.pipeline.broadcast(&bytes, root: last)
        var offset = 0
        return lengths.map { length in
            defer { offset += Int(length) }
            return stride(from: offset, to: offset + Int(length), by: 4).map { at in
                (0..<4).reduce(Int32(0)) { $0 | Int32(bytes[at + $1]) << ($1 * 8) }
            }
        }
    }
}

/// Tokens going round the stages of a replica: hidden states from stage to stage, the tokens drawn from them from the last
/// stage back to the first.
private struct TokenRing<World: Communicator> {
    private let pipeline: World
    private let outbox: Outbox<World>
    private let isFirst: Bool
    private let isLast: Bool

    init(_ pipeline: World) {
        self.pipeline = pipeline
        // A place for the message of every chunk under way: nobody waits to send.
        outbox = Outbox(pipeline, limit: 2 * pipeline.size)
        isFirst = pipeline.rank == 0
        isLast = pipeline.rank == pipeline.size - 1
    }

    /// Draws the sequences of several chunks side by side.
    ///
    /// - Parameter sizes: sequences of each chunk.
    /// - Returns: their tokens, one sequence after the other, on the last stage; on others nothing.
    func draw(
        _ parts: [SequenceDrawing], sizes: [Int], first: Int32, length: Int, hidden: Int
    ) throws(MPIError) -> [Int32] {
        // [chunk][position][sequence]
        var drawn = sizes.map { [[Int32](repeating: first, count: $0)] }
        for position in 0..<length - 1 {
            for (chunk, part) in parts.enumerated() {
                let input: StageInput =
                    isFirst
                    ? .tokens(try tokens(at: position, drawn[chunk], count: sizes[chunk], tag: chunk))
                    : .hidden(
                        Variable(constant: try pipeline.receive([sizes[chunk], hidden], from: pipeline.rank - 1, tag: chunk)))
                let x = part.advance(input)
                if isLast {
                    let tokens = part.draw(x)
                    drawn[chunk].append(tokens)
                    if !isFirst, position + 1 < length - 1 { try outbox.send(Tensor(bits: tokens), to: 0, tag: chunk) }
                } else {
                    try outbox.send(x, to: pipeline.rank + 1, tag: chunk)
                }
            }
        }
        try outbox.finish()
        guard isLast else { return [] }
        return zip(sizes, drawn).flatMap { size, positions in (0..<size).flatMap { i in positions.map { $0[i] } } }
    }

    /// The tokens at `position`, on the first stage: those every sequence begins with, drawn here, or sent by the last stage.
    private func tokens(at position: Int, _ own: [[Int32]], count: Int, tag: Int) throws(MPIError) -> [Int32] {
        if position == 0 || isLast { return own[position] }
        return try pipeline.receive([count], from: pipeline.size - 1, tag: tag).bits
    }
}

extension Tensor {
    /// Integers in the memory of floats, to travel.
    fileprivate init(bits: [Int32]) { self.init(bits.map { Float(bitPattern: UInt32(bitPattern: $0)) }, [bits.count]) }
    fileprivate var bits: [Int32] { elements.map { Int32(bitPattern: $0.bitPattern) } }
}
