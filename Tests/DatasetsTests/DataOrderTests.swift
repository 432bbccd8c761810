import TensorCore
import Testing

@testable import Datasets
@testable import Parallelism

@Suite struct BatchOrderTests {
    private func order(seed: UInt64 = 1) -> BatchOrder {
        BatchOrder(windows: 10, batchSize: 4, random: RandomStream(seed: seed, stream: 3))
    }

    @Test func `Every epoch sees every window once, in an order of its own`() {
        var order = order()
        // 5 steps of 4 are 2 epochs of 10; step 2 has windows of both.
        let seen = (0..<5).flatMap { order.sequences(step: $0) }
        #expect(seen[..<10].sorted() == Array(0..<10))
        #expect(seen[10...].sorted() == Array(0..<10))
        #expect(Array(seen[..<10]) != Array(seen[10...]))
        #expect(Array(seen[..<10]) != Array(0..<10))
    }

    @Test(arguments: [1, 2, 3, 4, 8])
    func `The ranks' slices make up the same batch for any number of ranks`(ranks: Int) {
        var order = order()
        for step in [0, 1, 2, 77] {
            let batch = order.sequences(step: step)
            #expect((0..<ranks).flatMap { order.sequences(step: step, rank: $0, ranks: ranks) } == batch)
        }
    }

    @Test func `A step's batch does not depend on the steps before it`() {
        var whole = order()
        let batches = (0..<20).map { whole.sequences(step: $0) }
        for step in [19, 7, 0] {
            var resumed = order()
            #expect(resumed.sequences(step: step) == batches[step])
        }
    }

    @Test func `Another seed gives another order`() {
        var one = order(), other = order(seed: 2)
        #expect((0..<5).map { one.sequences(step: $0) } != (0..<5).map { other.sequences(step: $0) })
    }

    @Test func `The first ranks take what does not divide evenly`() {
        #expect((0..<3).map { slice(of: 8, rank: $0, ranks: 3) } == [0..<3, 3..<6, 6..<8])
        #expect((0..<3).map { slice(of: 2, rank: $0, ranks: 3) } == [0..<1, 1..<2, 2..<2])
    }

    /// The mean place of a window over n epochs is normal about 4.5 with deviation √(8.25 / n): 0.09 at 1000. Five
    /// deviations are allowed.
    @Test func `Windows come early and late equally often`() {
        var order = BatchOrder(windows: 10, batchSize: 10, random: RandomStream(seed: 5, stream: 3))
        var places = [Int](repeating: 0, count: 10)
        for epoch in 0..<1000 {
            for (place, window) in order.sequences(step: epoch).enumerated() { places[window] += place }
        }
        for sum in places { #expect(abs(Double(sum) / 1000 - 4.5) < 0.46) }
    }
}
