import Glibc
import Synchronization
import TestSupport
import Testing

@testable import TensorCore

@Suite struct TeamTests {
    private struct Refused: Error, Equatable { var item: Int }

    @Test(arguments: [1, 2, 5]) func `items come back in their order`(_ threads: Int) throws {
        try withThreads(threads) {
            for count in [0, 1, 2, 23] {
                let squares = try Team.map(count) { item, _ in item * item }
                #expect(squares == (0..<count).map { $0 * $0 })
            }
        }
    }

    @Test func `the costliest items are taken first`() throws {
        let begun = Mutex([Int]())
        // A thread that has begun an item waits until the others have.
        let arrived = Atomic<Int>(0)
        let results = try withThreads(2) {
            try Team.map(4, costs: [1, 5, 3, 9]) { item, _ in
                begun.withLock { $0.append(item) }
                arrived.add(1, ordering: .relaxed)
                let wanted = begun.withLock { $0.count } <= 2 ? 2 : 0
                let end = ContinuousClock.now + .seconds(5)
                while arrived.load(ordering: .relaxed) < wanted, ContinuousClock.now < end { sched_yield() }
                return item
            }
        }
        #expect(results == [0, 1, 2, 3])
        #expect(Set(begun.withLock { $0.prefix(2) }) == [3, 1])
    }

    @Test(arguments: [1, 2, 5]) func `an error of an item is the map's`(_ threads: Int) {
        withThreads(threads) {
            #expect(throws: Refused(item: 7)) {
                try Team.map(30) { item, _ in if item == 7 { throw Refused(item: item) } }
            }
        }
    }

    @Test(arguments: [1, 3, 8]) func `sums of chunks do not depend on the threads`(_ threads: Int) {
        var random = RandomStream(seed: 2)
        let x = Tensor(normal: [5000, 3], from: &random)
        func columnSums() -> [Float] {
            var total = Tensor(zeros: [3])
            let source = x.pointer
            Team.sum(5000, of: 3, cost: 1000, into: total.mutablePointer) { rows, sums in
                for row in rows { for j in 0..<3 { sums[j] += source[row * 3 + j] } }
            }
            return total.elements
        }
        withThreads(1) {
            let alone = columnSums()
            withThreads(threads) { #expect(columnSums() == alone) }
        }
    }

    @Test func `a caller that waits for another's item sleeps, and does what it is given meanwhile`() throws {
        let isReleased = Atomic<Bool>(false)
        func work() {
            let end = ContinuousClock.now + .seconds(20)
            while !isReleased.load(ordering: .acquiring), .now < end { usleep(1000) }
        }
        var calls = 0
        let before = threadSeconds()
        let isHelped = try withHelper(work) {
            calls += 1
            if calls == 200 { isReleased.store(true, ordering: .releasing) }
        }
        #expect(isHelped && calls >= 200)
        // Of 0.4 s and more.
        #expect(threadSeconds() - before < 0.2)
    }

    @Test func `an error of what the caller does meanwhile is the map's`() {
        #expect(throws: Refused(item: 9)) {
            try withHelper({ usleep(100_000) }, meanwhile: { throw Refused(item: 9) })
        }
    }

    private func threadSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
    }

    /// Of whole chunks, and of one that is not.
    @Test(arguments: [0, 7, 1 << 15, 100_001]) func `a sum of squares does not depend on the threads`(_ count: Int) {
        var random = RandomStream(seed: 5)
        let x = Tensor(normal: [count], from: &random)
        let alone = withThreads(1) { Team.sumOfSquares(x.pointer, count) }
        for threads in [2, 5] { #expect(withThreads(threads) { Team.sumOfSquares(x.pointer, count) } == alone) }
        #expect(abs(alone - x.squaredNorm) <= 1e-12 * x.squaredNorm)
    }

    @Test func `every item of every work is done once, whatever the works before`() {
        var random = RandomStream(seed: 3)
        for _ in 0..<2000 {
            let (count, threads) = (1 + Int(random.next() % 40), 1 + Int(random.next() % 6))
            var marks = Tensor(zeros: [count])
            let target = marks.mutablePointer
            Team.share(count, in: threads) { items in
                // Within a part a work is done alone.
                Team.share(items.count, in: 3) { for index in $0 { target[items.lowerBound + index] += 1 } }
            }
            #expect(marks.elements == [Float](repeating: 1, count: count))
        }
    }

    @Test func `elements are gone through once each`() {
        withThreads(4) {
            for count in [0, 1, 4096, 100_001] {
                var marks = Tensor(zeros: [count])
                let target = marks.mutablePointer
                Team.shareElements(count) { for index in $0 { target[index] += 1 } }
                #expect(marks.elements == [Float](repeating: 1, count: count))
            }
        }
    }

    /// Whether all other items were done while the first was kept waiting.
    private static func othersGoOn() -> Bool {
        let done = Atomic<Int>(0)
        let hasWaited = Atomic<Bool>(false)
        Team.share(8, in: 2) { items in
            guard items.contains(0) else {
                done.add(items.count, ordering: .relaxed)
                return
            }
            let deadline = ContinuousClock.now + .milliseconds(250)
            while done.load(ordering: .relaxed) < 8 - items.count, ContinuousClock.now < deadline {}
            hasWaited.store(done.load(ordering: .relaxed) == 8 - items.count, ordering: .relaxed)
        }
        return hasWaited.load(ordering: .relaxed)
    }

    @Test func `a thread that is late leaves its items to the others`() async {
        // In a process of its own: while another test's work is under way the caller does all of its own alone.
        await #expect(processExitsWith: .success) {
            withThreads(2) { #expect((0..<40).contains { _ in TeamTests.othersGoOn() }) }
        }
    }
}
