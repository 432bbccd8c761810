internal import Parallelism
package import TensorCore

/// Which windows each step trains on: a permutation of all windows for every epoch, one after the other, cut into batches.
///
/// The order follows from the seed and the step alone. The global batch is therefore the same for any number of ranks, and
/// a run resumes at any step without state of its own.
package struct BatchOrder: Sendable {
    private let windows: Int
    private let batchSize: Int
    private let random: RandomStream
    /// The permutation drawn last.
    private var current: (epoch: Int, permutation: [Int])?

    /// - Parameter random: a stream used for nothing else; its position does not matter.
    /// - Precondition: there are windows, and a batch has sequences.
    package init(windows: Int, batchSize: Int, random: RandomStream) {
        precondition(windows > 0 && batchSize > 0, "\(windows) windows, \(batchSize) sequences a step")
        self.windows = windows
        self.batchSize = batchSize
        self.random = random
    }

    /// The windows of a step, counted from 0, over all ranks.
    package mutating func sequences(step: Int) -> [Int] {
        (step * batchSize..<(step + 1) * batchSize).map { position in
            window(at: position)
        }
    }

    /// The windows of a step that fall to one rank: a contiguous slice of the batch.
    package mutating func sequences(step: Int, rank: Int, ranks: Int) -> [Int] {
        Array(sequences(step: step)[slice(of: batchSize, rank: rank, ranks: ranks)])
    }

    private mutating func window(at position: Int) -> Int {
        let (epoch, offset) = position.quotientAndRemainder(dividingBy: windows)
        if let current, current.epoch == epoch { return current.permutation[offset] }
        let permutation = permutation(epoch: epoch)
        current = (epoch, permutation)
        return permutation[offset]
    }

    /// Fisher and Yates' shuffle, with one draw for each place so that epoch e begins at draw e · windows.
    ///
    /// A draw of 64 bits is scaled to 0 ..< n by multiplication; the bias, below n / 2⁶⁴, is not observable.
    private func permutation(epoch: Int) -> [Int] {
        var random = random
        random.position = UInt64(epoch) &* UInt64(windows)
        var permutation = Array(0..<windows)
        for last in permutation.indices.reversed() {
            let chosen = Int(random.next().multipliedFullWidth(by: UInt64(last + 1)).high)
            permutation.swapAt(last, chosen)
        }
        return permutation
    }
}
