import Glibc
import Planning
import Support
import Synchronization
import TensorCore
import TestSupport
import Testing

@testable import Collectives

extension RankTests {
    @Suite(.serialized) struct CollectiveTests {
        let world = RankWorld.shared
        var rank: Int { world.rank }
        var size: Int { world.size }

        @Test func `a rank alone in its group sends nothing`() throws {
            let alone = try #require(try world.split(color: world.rank, key: 0))
            let before = (alone.bytesSent, world.bytesSent)
            _ = try alone.allReduce(Int64(1), .sum)
            _ = try alone.allGather(Int64(1))
            #expect(alone.bytesSent == before.0)
            _ = try world.allReduce(Int64(1), .sum)
            #expect((world.bytesSent > before.1) == (world.size > 1))
        }

        @Test func `sum, minimum and maximum are those of all ranks`() throws {
            var elements = [Float(rank), 1, -Float(rank)]
            try world.allReduce(&elements, .sum)
            let total = Float(size * (size - 1) / 2)
            #expect(elements == [total, Float(size), -total])
            #expect(try world.allReduce(Int64(rank), .max) == Int64(size - 1))
            #expect(try world.allReduce(Int64(rank) - 5, .min) == -5)
            #expect(try world.allReduce(Double(rank) + 0.5, .sum) == Double(total) + 0.5 * Double(size))
        }

        /// What they decide by it they must decide alike.
        @Test func `ranks that have other numbers of threads count on the least of them`() throws {
            let cluster = try Cluster(of: world, threads: 2 + (rank + 1) % size, productFlops: 1e9 * Double(1 + rank))
            #expect(cluster.threadsPerRank == 2 && cluster.threadsPerCore == 1)
            #expect(abs(cluster.productFlops / (1e9 * Double(1 + size) / 4) - 1) < 1e-12)
        }

        /// 70,001 elements: Open MPI reduces short and long messages by different algorithms; both kinds are covered.
        @Test(arguments: [1, 3, 17, 1001, 70_001])
        func `a sum has the same bits on every rank and in every run`(count: Int) throws {
            var random = RandomStream(seed: 5, stream: UInt64(rank))
            let mine = Tensor(normal: [count], from: &random)
            func sum() throws -> Tensor {
                // As gradients are: two at a time, while this rank does something else.
                let sums = [try world.startAllReduceSum(mine.copy()), try world.startAllReduceSum(mine.copy())]
                usleep(UInt32(1000 * rank))
                let (first, second) = (try sums[0].wait(), try sums[1].wait())
                #expect(first.elements == second.elements)
                return first
            }
            let first = try sum()
            for _ in 0..<5 { #expect(try sum().elements == first.elements) }
            let bytes = first.withElements { Array(UnsafeRawBufferPointer($0)) }
            #expect(try world.allGather(bytes).allSatisfy { $0 == bytes })
            // Whatever the order of additions: close to the sum of what all ranks have.
            var exact = [Double](repeating: 0, count: count)
            for other in 0..<size {
                var random = RandomStream(seed: 5, stream: UInt64(other))
                let part = Tensor(normal: [count], from: &random)
                for i in exact.indices { exact[i] += Double(part.pointer[i]) }
            }
            #expect(zip(first.elements, exact).allSatisfy { abs(Double($0) - $1) < 1e-6 * Double(size) })
        }

        @Test func `a reduction under way hands its tensor back summed`() throws {
            let pending = try world.startAllReduceSum(Tensor(repeating: 1, [1000]))
            let numbers = try world.startAllReduce([Int64(rank), ~Int64(rank)], .min)
            while try !pending.isComplete() {}
            #expect(try pending.wait().elements == [Float](repeating: Float(size), count: 1000))
            #expect(try numbers.wait().elements == [0, ~Int64(size - 1)])
        }

        /// Too long to be sent before it is received; neither rank calls MPI between the start and the end.
        @Test(.enabled(if: RankWorld.shared.size > 1)) func `a message arrives while both ranks compute`() throws {
            let own = try world.agree { world.isRoot ? try TemporaryFolder() : nil }
            let folder = try world.fromRoot { own?.path ?? "" }
            for round in 0..<3 {
                let arrived = "\(folder)/\(round)"
                var target = Tensor(repeating: 0, [1 << 20])
                try world.barrier()
                if rank == 0 {
                    let pending = try world.startSend(Tensor(repeating: 1, [1 << 20]), to: 1, tag: 5)
                    compute(while: PathKind(arrived) == .absent)
                    _ = try pending.wait()
                } else if rank == 1 {
                    let memory = target.mutablePointer
                    let data = UnsafeMutableRawBufferPointer(
                        UnsafeMutableBufferPointer(start: memory, count: target.count))
                    let pending = try world.startReceive(data, of: target, from: 0, tag: 5)
                    // Read anew each time, since this thread does not write it.
                    let last = UnsafeMutableRawPointer(memory + target.count - 1)
                        .assumingMemoryBound(to: Atomic<UInt32>.self)
                    let isMissing = compute(while: last.pointee.load(ordering: .acquiring) == 0)
                    try AtomicFile.write("", to: arrived)
                    #expect(!isMissing, "nothing has come")
                    #expect(try pending.wait()[flat: 1000] == 1)
                }
            }
            try world.barrier()
            withExtendedLifetime(own) {}
        }

        /// Until the condition is false, or for half a minute. Returns what the condition is then.
        @discardableResult
        private func compute(while condition: @autoclosure () -> Bool) -> Bool {
            let end = ContinuousClock.now + .seconds(30)
            var x = 1.0
            while condition(), .now < end {
                for _ in 0..<1000 { x = (x + 1).squareRoot() }
            }
            return condition() && x > 0
        }

        /// Each rank's clock is a second and its rank's number of milliseconds ahead of the one before.
        @Test func `clocks of other machines are measured`() throws {
            let ahead = Int64(rank) * 1_001_000_000
            func clock() -> UInt64 { Trace.now() &+ UInt64(bitPattern: ahead) }
            let offsets = try ClockOffsets.measure(over: world, machine: "machine \(rank)", clock: clock).offsets
            #expect(offsets.count == (rank == 0 ? size : 0))
            for (other, offset) in offsets.enumerated() {
                // Ranks that share a core answer when it is their turn, and half of that time may be taken for their clock's.
                #expect(abs(offset - Int64(other) * 1_001_000_000) < 500_000_000, "rank \(other)")
            }
            let same = try ClockOffsets.measure(over: world, machine: "one", clock: clock).offsets
            #expect(same.allSatisfy { $0 == 0 })
        }

        @Test func `a broadcast gives every rank the root's bytes, of any length`() throws {
            for root in 0..<size {
                var bytes: [UInt8] = rank == root ? [1, 2, UInt8(root)] : []
                try world.broadcast(&bytes, root: root)
                #expect(bytes == [1, 2, UInt8(root)])
                var tensor = Tensor(repeating: Float(rank), [2, 2])
                try world.broadcast(&tensor, root: root)
                #expect(tensor.elements == [Float](repeating: Float(root), count: 4))
            }
            var none: [UInt8] = []
            try world.broadcast(&none)
            #expect(none.isEmpty)
        }

        @Test func `a gather keeps the ranks' order and lengths`() throws {
            let parts = try world.allGather([UInt8](repeating: UInt8(rank), count: rank))
            #expect(parts == (0..<size).map { [UInt8](repeating: UInt8($0), count: $0) })
            let rows = try world.allGatherRows(Tensor(repeating: Float(rank), [rank + 1, 3]))
            #expect(rows.shape == [size * (size + 1) / 2, 3])
            #expect(rows[rows.rows - 1, 2] == Float(size - 1))
        }

        @Test func `a machine has its ranks`() throws {
            let onNode = try world.ranksOnNode()
            #expect((1...size).contains(onNode))
            #expect(
                try world.allGather(Int64(onNode)).allSatisfy { $0 == Int64(onNode) },
                "tests run on one machine, or on equal ones")
        }

        @Test func `the ranks of a machine divide its cores`() throws {
            let (share, cores) = (try world.coreShare(), Double(MPIEnvironment.availableCores))
            // From divided among all ranks to all to itself; together no more than there are.
            #expect(try share > 0.999 * cores / Double(world.ranksOnNode()) && share < 1.001 * cores)
            if try world.ranksOnNode() == size {
                #expect(try world.allGather(share).reduce(0, +) < Double(sysconf(Int32(_SC_NPROCESSORS_ONLN))) + 0.001)
            }
        }

        @Test func `a split orders its ranks by key`() throws {
            let part = try #require(try world.split(color: rank % 2, key: -rank))
            let members = (0..<size).filter { $0 % 2 == rank % 2 }
            #expect(part.size == members.count)
            #expect(part.rank == members.count - 1 - members.firstIndex(of: rank)!)
            #expect(try part.allReduce(Int64(rank), .sum) == Int64(members.reduce(0, +)))
            let roots = try world.split(color: rank == 0 ? 0 : nil, key: 0)
            #expect((roots == nil) == (rank != 0))
        }

        @Test func `a group of one hands nothing over`() throws {
            let alone = try #require(try world.split(color: rank, key: 0))
            var elements = [Float](repeating: 1, count: 1000)
            try alone.allReduce(&elements, .sum)
            _ = try alone.startAllReduceSum(Tensor(elements, [1000])).wait()
            _ = try alone.allGather([UInt8](repeating: 1, count: 3))
            _ = try alone.broadcast(Int64(7), root: 0)
            #expect(alone.bytesSent == 0)
        }

        @Test func `tensors travel round a ring, also before they are asked for`() throws {
            let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size)
            let receiving = try world.startReceive([2, 2], from: previous, tag: 1)
            var mine = Tensor(repeating: Float(rank), [2, 2])
            let sending = try world.startSend(mine, to: next, tag: 1)
            mine.fill(-1)  // The message keeps what it was given.
            #expect(try receiving.wait().elements == [Float](repeating: Float(previous), count: 4))
            _ = try sending.wait()
            if rank > 0 { try world.send(Tensor([Float(rank)], [1]), to: 0, tag: 2) }
            if rank == 0 {
                for peer in 1..<max(1, size) { #expect(try world.receive([1], from: peer, tag: 2).elements == [Float(peer)]) }
            }
        }

        @Test(.enabled(if: RankWorld.shared is MPICommunicator))
        func `messages longer than MPI counts travel in pieces`() throws {
            let world = try #require(world as? MPICommunicator)
            let small = try world.limited(toPieces: 7)
            var elements = (0..<50).map { Float($0) }
            try small.allReduce(&elements, .sum)
            #expect(elements == (0..<50).map { Float($0 * size) })
            let pending = try small.startAllReduceSum(Tensor(repeating: 2, [50]))
            #expect(try pending.wait().elements == [Float](repeating: Float(2 * size), count: 50))
            var bytes = (0..<20).map { UInt8($0 + rank) }
            try small.broadcast(&bytes, root: size - 1)
            #expect(bytes == (0..<20).map { UInt8($0 + size - 1) })
            #expect(try small.allGather([UInt8](repeating: 9, count: 8)).joined().count == 8 * size)
            let receiving = try small.startReceive([30], from: (rank + 1) % size)
            let sending = try small.startSend(Tensor(repeating: 3, [30]), to: (rank + size - 1) % size)
            #expect(try receiving.wait().elements == [Float](repeating: 3, count: 30))
            _ = try sending.wait()
        }

        @Test(.enabled(if: RankWorld.shared is MPICommunicator), arguments: [false, true])
        func `a message that is shorter than was asked for is an error`(_ polls: Bool) throws {
            let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size)
            let receiving = try world.startReceive([4], from: previous, tag: 6)
            _ = try world.startSend(Tensor([1, 2], [2]), to: next, tag: 6).wait()
            #expect(throws: MPIError.self) {
                if polls { while try !receiving.isComplete() {} } else { _ = try receiving.wait() }
            }
        }

        /// As the jobs of a sweep do.
        @Test func `watching anew leaves no thread and no socket of before`() throws {
            func open() throws -> [Int] { try ["task", "fd"].map { try entries(ofFolder: "/proc/self/\($0)").count } }
            #expect(try world.watch(longestWait: .seconds(600)) == nil)
            let first = try open()
            for _ in 0..<10 { #expect(try world.watch(longestWait: .seconds(600)) == nil) }
            // The threads look every 50 ms whether they are to end. Others of this process come and go.
            func isLeft() throws -> Bool { try zip(open(), first).contains { $0 > $1 + 4 } }
            let deadline = ContinuousClock.now + .seconds(30)
            while try isLeft(), ContinuousClock.now < deadline { usleep(20_000) }
            #expect(try !isLeft())
            world.watchdog?.stop()
        }

        /// 4 GiB and a little on each of two ranks, so only where SQ_TEST_LARGE_MESSAGES is set.
        @Test(.enabled(if: getenv("SQ_TEST_LARGE_MESSAGES") != nil))
        func `a message of more elements than one call of MPI takes arrives whole`() throws {
            let count = (1 << 30) + 5
            // Either side of the limits of 2 GiB and of a piece.
            let places = [0, (1 << 29) - 1, 1 << 29, (1 << 30) - 1, 1 << 30, count - 1]
            if rank == 0 {
                var tensor = Tensor(zeros: [count])
                for place in places { tensor.mutablePointer[place] = Float(place % 1009 + 1) }
                try world.send(tensor, to: size - 1, tag: 5)
            } else if rank == size - 1 {
                let tensor = try world.receive([count], from: 0, tag: 5)
                for place in places { #expect(tensor.pointer[place] == Float(place % 1009 + 1), "element \(place)") }
                #expect(tensor.squaredNorm == places.reduce(0) { $0 + Double(($1 % 1009 + 1) * ($1 % 1009 + 1)) })
            }
        }

        @Test(.enabled(if: RankWorld.shared is MPICommunicator))
        func `an error of MPI names the operation, the rank and MPI's own words`() throws {
            let world = try #require(world as? MPICommunicator)
            #expect { try world.send(Tensor([1], [1]), to: size) } throws: {
                guard let error = $0 as? MPIError else { return false }
                return error.operation == "MPI_Send" && error.rank == rank && error.text.contains("rank")
            }
        }
    }
}
