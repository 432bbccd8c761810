package import Collectives
package import Evaluation
package import Models

/// Sequences that the model itself draws where no text is given: calibration without data (LLM-QAT, arXiv 2305.17888).
package enum SampledTokens {
    /// Sequences drawn together. Fixed, since the numbers of a product depend by rounding on its size: any number of ranks draws
    /// the same tokens.
    private static let chunk = 16

    /// - Parameters:
    ///   - stream: streams `stream ..< stream + count` of the seed are used.
    /// - Returns: `count` sequences of `length` tokens, the same on every rank.
    package static func draw(
        _ count: Int, length: Int, first: Int32, seed: UInt64, stream: UInt64, from network: Network<Untouched>,
        _ communicator: some Communicator, progress: (Int) -> Void
    ) throws -> [[Int32]] {
        let chunks = (count + chunk - 1) / chunk
        var own: [Int32] = []
        for index in stride(from: communicator.rank, to: chunks, by: communicator.size) {
            let streams = stream + UInt64(index * chunk)..<stream + UInt64(min((index + 1) * chunk, count))
            let sequences = network.model.sample(network.parameters, first: first, length: length, seed: seed, streams: streams)
            own += sequences.flatMap(\.self)
            progress(min(count, (index + communicator.size) * chunk))
        }
        let parts = try communicator.allGather(own.flatMap { token in (0..<4).map { UInt8(truncatingIfNeeded: token >> ($0 * 8)) } })
        var result = [[Int32]](repeating: [], count: count)
        for (rank, bytes) in parts.enumerated() {
            let tokens = stride(from: 0, to: bytes.count, by: 4).map { at in
                (0..<4).reduce(Int32(0)) { $0 | Int32(bytes[at + $1]) << ($1 * 8) }
            }
            let sequences = stride(from: rank, to: chunks, by: communicator.size)
                .flatMap { index in index * chunk..<min((index + 1) * chunk, count) }
            for (place, sequence) in sequences.enumerated() {
                result[sequence] = Array(tokens[place * length..<(place + 1) * length])
            }
        }
        return result
    }
}
