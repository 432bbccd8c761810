internal import Support

/// How far the clocks of the ranks' machines are from rank 0's, in nanoseconds of CLOCK_MONOTONIC.
struct ClockOffsets: Equatable {
    /// When they were measured, by rank 0's clock.
    var time: UInt64
    /// What each rank's clock shows more than rank 0's; on rank 0 alone, empty on others.
    var offsets: [Int64]

    private static let rounds = 8
    private static let tag = 0x7ac0

    /// Rank 0 asks each rank for its time a few times: of the quickest answer, half the way there and back is taken for the
    /// way there (Cristian, Distributed Computing 3, 1989). Ranks of rank 0's machine have its clock. Collective.
    ///
    /// - Parameters:
    ///   - machine: what ranks of one machine have in common.
    ///   - clock: this rank's.
    static func measure(
        over world: some Communicator, machine: String = KernelFile.bootIdentity, clock: () -> UInt64 = Trace.now
    ) throws(MPIError) -> ClockOffsets {
        let machines = try world.allGather(Array(machine.utf8))
        var result = ClockOffsets(time: clock(), offsets: world.isRoot ? [Int64](repeating: 0, count: world.size) : [])
        for rank in 1..<max(1, world.size) where machines[rank] != machines[0] || machines[0].isEmpty {
            if world.isRoot {
                result.offsets[rank] = try offset(of: rank, world, clock)
            } else if world.rank == rank {
                for _ in 0..<rounds {
                    _ = try world.receive(bytes: 1, from: 0, tag: tag)
                    try withUnsafeBytes(of: clock()) { time throws(MPIError) in try world.send(time, to: 0, tag: tag) }
                }
            }
        }
        return result
    }

    private static func offset(
        of rank: Int, _ world: some Communicator, _ clock: () -> UInt64
    ) throws(MPIError) -> Int64 {
        var best: (duration: UInt64, offset: Int64) = (.max, 0)
        for _ in 0..<rounds {
            let sent = clock()
            try world.send([0], to: rank, tag: tag)
            var time: UInt64 = 0
            try withUnsafeMutableBytes(of: &time) { time throws(MPIError) in try world.receive(time, from: rank, tag: tag) }
            let duration = clock() - sent
            if duration < best.duration { best = (duration, Int64(bitPattern: time &- sent &- duration / 2)) }
        }
        return best.offset
    }

    /// What a rank's clock showed more than rank 0's at a time between this measurement and a later one: clocks drift apart
    /// evenly.
    func offset(of rank: Int, at time: UInt64, until later: ClockOffsets) -> Int64 {
        let (first, last) = (offsets[rank], later.offsets[rank])
        guard later.time > self.time, first != last else { return first }
        let own = Double(Int64(bitPattern: time &- UInt64(bitPattern: first) &- self.time))
        return first + Int64(Double(last - first) * own / Double(later.time - self.time))
    }
}
