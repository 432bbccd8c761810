/// How a replica's sequences of a step are divided into micro-batches, which run through the stages one after the other.
package struct MicroBatches: Sendable, Equatable {
    private enum Size: Sendable, Equatable {
        case count(Int)
        case sequences(atMost: Int, atLeastCount: Int)
    }
    private let size: Size

    /// This many micro-batches, whatever the number of sequences.
    package static func count(_ count: Int) -> MicroBatches {
        precondition(count > 0, "\(count) micro-batches")
        return MicroBatches(size: .count(count))
    }

    /// As many as are needed for no micro-batch to have more than `most` sequences, and no fewer than `minimum` where there
    /// are as many sequences.
    package static func sequences(atMost most: Int, atLeastCount minimum: Int = 1) -> MicroBatches {
        precondition(most > 0, "micro-batches of \(most) sequences")
        return MicroBatches(size: .sequences(atMost: most, atLeastCount: minimum))
    }

    /// The micro-batches of `sequences` sequences: contiguous, in order, sizes that differ by one at most, the larger first.
    package func ranges(_ sequences: Int) -> [Range<Int>] {
        let wanted =
            switch size {
            case .count(let count): count
            case .sequences(let most, let minimum): max((sequences + most - 1) / most, minimum)
            }
        let count = min(wanted, sequences)
        guard count > 0 else { return [] }
        let (share, extra) = sequences.quotientAndRemainder(dividingBy: count)
        return (0..<count).map { index in
            let begin = index * share + min(index, extra)
            return begin..<begin + share + (index < extra ? 1 : 0)
        }
    }
}
