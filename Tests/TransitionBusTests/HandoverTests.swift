import BusTestSupport
import Collectives
import Glibc
import Support
import Synchronization
import Testing

@testable import TransitionBus

@Suite struct HandoverTests {
    let start = ContinuousClock.now
    static let long = 20_000_000

    /// Holds what expectations may not change.
    final class Box {
        var handover: Handover
        init(_ handover: Handover) { self.handover = handover }

        func next(_ count: Int) -> [Int] { handover.next(count) }
        func lend(atMost count: Int, to borrower: Int, claim: UInt64, now: ContinuousClock.Instant) -> [Int]? {
            handover.lend(atMost: count, to: borrower, claim: claim, now: now)
        }
        func claim(
            missing: [Int: [Int]], patience: Duration, now: ContinuousClock.Instant
        ) -> (owner: Int, number: UInt64)? { handover.claim(missing: missing, patience: patience, now: now) }
        func take(_ layers: [Int], from owner: Int, claim: UInt64, owners: [Int]) -> Bool {
            handover.take(layers, from: owner, claim: claim, owners: owners)
        }
        func nextBorrowed(unless isHere: (Int) -> Bool = { _ in false }) -> (owner: Int, layers: [Int])? {
            handover.nextBorrowed(unless: isHere)
        }
    }

    /// Of rank 0, that has layers 3, 1, 0 and 4 in this order; layer 4 is not worth asking for.
    func owner(expected: [Int]? = [long, long, long, long, 1000]) -> Box {
        var handover = Handover(rank: 0)
        handover.begin(StepPlan(owners: [0, 0, 1, 0, 0], order: [3, 2, 1, 0, 4], expected: expected))
        return Box(handover)
    }

    @Test func `an owner computes its layers in order, and lends the last that is worth it and not begun`() {
        let handover = owner()
        #expect(handover.next(1) == [3])
        #expect(handover.lend(atMost: 1, to: 1, claim: 1, now: start) == [0])
        let lent = handover.handover
        #expect(lent.isOwed && lent.wasLent(0, to: 1) && !lent.wasLent(0, to: 2) && !lent.wasLent(1, to: 1))
        #expect(handover.next(3) == [1, 4])
        #expect(handover.lend(atMost: 1, to: 2, claim: 1, now: start) == [])
        #expect(handover.next(1) == [])
        handover.handover.settle(0, isTakenOver: true)
        let settled = handover.handover
        #expect(!settled.isOwed && settled.takenOver == [0] && settled.borrower(of: 0) == 1)
        let other = owner()
        #expect(other.lend(atMost: 5, to: 1, claim: 1, now: start) == [0, 1, 3])
    }

    @Test func `a claim is answered once, and without times with nothing`() {
        let handover = owner()
        #expect(handover.lend(atMost: 1, to: 1, claim: 7, now: start) == [0])
        #expect(handover.lend(atMost: 1, to: 1, claim: 7, now: start) == nil)
        #expect(handover.lend(atMost: 1, to: 1, claim: 6, now: start) == nil)
        #expect(handover.lend(atMost: 1, to: 2, claim: 1, now: start) == [1])
        let unknown = owner(expected: nil)
        #expect(unknown.lend(atMost: 1, to: 1, claim: 1, now: start) == [])
        #expect(unknown.claim(missing: [1: [2, 3]], patience: .seconds(1), now: start) == nil)
    }

    @Test func `a loan is due after four times what the layer takes and a quarter of a second`() {
        var handover = owner().handover
        _ = handover.lend(atMost: 1, to: 1, claim: 1, now: start)
        #expect(handover.overdue(now: start + .milliseconds(329)) == nil)
        #expect(handover.overdue(now: start + .milliseconds(330)) == 0)
        handover.settle(0, isTakenOver: false)
        #expect(handover.overdue(now: start + .seconds(9)) == nil && handover.takenOver == [])
    }

    /// Ranks 1 to 5 own the layers.
    func borrower() -> Box {
        var handover = Handover(rank: 0)
        let owners = [1, 1, 2, 2, 2, 3, 4, 4, 5, 5]
        let expected = [9, 9, 7, 7, 7, 99, 8, 8, 1, 1].map { $0 * 1_000_000 }
        handover.begin(StepPlan(owners: owners, expected: expected))
        return Box(handover)
    }
    let missing = [1: [0, 1], 2: [2, 3, 4], 3: [5], 4: [6, 7], 5: [8, 9]]

    @Test func `the owner with most to do is asked first, and none that has one layer under way or short ones`() throws {
        let handover = borrower()
        var asked: [Int] = []
        for tick in 0..<10 {
            let claim = handover.claim(missing: missing, patience: .milliseconds(10), now: start + .milliseconds(10 * tick))
            if let claim { asked.append(claim.owner) }
        }
        #expect(asked == [2, 1, 4])
    }

    @Test func `a borrowed layer that its owner has published meanwhile is not computed`() throws {
        let handover = borrower()
        let owners = [1, 1, 2, 2, 2, 3, 4, 4, 5, 5]
        let claim = try #require(handover.claim(missing: missing, patience: .seconds(1), now: start))
        #expect(handover.take([3, 4], from: 2, claim: claim.number, owners: owners))
        let borrowed = try #require(handover.nextBorrowed { $0 == 3 })
        #expect(borrowed.layers == [4])
        let second = try #require(handover.claim(missing: missing, patience: .seconds(1), now: start + .seconds(2)))
        _ = handover.take([6], from: 4, claim: second.number, owners: owners)
        #expect(handover.nextBorrowed { _ in true } == nil)
    }

    @Test func `while an answer is awaited nobody else is asked, and after three without a layer nobody any more`() throws {
        let handover = borrower()
        let owners = [1, 1, 2, 2, 2, 3, 4, 4, 5, 5]
        func next() -> (owner: Int, number: UInt64)? { handover.claim(missing: missing, patience: .seconds(1), now: start) }
        let first = try #require(next())
        #expect(next() == nil)
        #expect(handover.take([4], from: 2, claim: first.number, owners: owners))
        // What is borrowed comes first.
        #expect(next() == nil)
        let borrowed = try #require(handover.nextBorrowed())
        #expect(borrowed.owner == 2 && borrowed.layers == [4] && handover.nextBorrowed() == nil)
        for owner in [2, 1, 4] {
            let claim = try #require(next())
            #expect(claim.owner == owner)
            #expect(handover.take([], from: owner, claim: claim.number, owners: owners))
        }
        #expect(handover.claim(missing: missing.merging([6: [0, 1]]) { a, _ in a }, patience: .zero, now: start) == nil)
    }

    @Test func `an answer to no claim, of another owner, twice, or with layers that are not its own is not taken`() throws {
        let handover = borrower()
        let owners = [1, 1, 2, 2, 2, 3, 4, 4, 5, 5]
        let claim = try #require(handover.claim(missing: missing, patience: .seconds(1), now: start))
        #expect(!handover.take([4], from: 2, claim: claim.number + 1, owners: owners))
        #expect(!handover.take([0], from: 1, claim: claim.number, owners: owners))
        #expect(!handover.take([0], from: 2, claim: claim.number, owners: owners))
        #expect(!handover.take([4, 4], from: 2, claim: claim.number, owners: owners))
        #expect(!handover.take([10], from: 2, claim: claim.number, owners: owners))
        #expect(handover.take([4, 3], from: 2, claim: claim.number, owners: owners))
        #expect(!handover.take([2], from: 2, claim: claim.number, owners: owners))
    }

    @Test func `a result that does not fit is refused for the right reason`() throws {
        struct Undecodable: Error {}
        var ledger = StepLedger(payloadLimits: [4, 4], attempt: 1, firstStep: 0) {
            if $0.payload == [66] { throw Undecodable() }
        }
        _ = ledger.begin(step: 0, owners: [0, 0])
        _ = ledger.begin(step: 1, owners: [0, 0])
        func verdict(
            _ payload: [UInt8], step: Int = 1, layer: Int = 0, owner: Int = 1, attempt: UInt32 = 1, sent: [UInt8]? = nil
        ) throws -> StepLedger.ResultVerdict {
            let header = FrameHeader(
                .result, attempt: attempt, owner: owner, step: step, layer: layer, codec: 3, payload: payload)
            return try ledger.check(result: header, sent ?? payload, from: 1, to: 0) { $0 == 0 }
        }
        #expect(try verdict([5]) == .accepted(Transition(layer: 0, codec: 3, payload: [5])))
        #expect(try verdict([5], attempt: 2) == .refused(.stale))
        #expect(try verdict([5], step: 2) == .refused(.stale))
        #expect(try verdict([5], step: 0) == .duplicate)
        #expect(try verdict([5], owner: 2) == .refused(.wrongOwner))
        #expect(try verdict([5], layer: 1) == .refused(.wrongOwner))
        #expect(try verdict([5], layer: 2) == .refused(.wrongOwner))
        #expect(try verdict([1, 2, 3, 4, 5]) == .refused(.wrongSize))
        #expect(try verdict([5], sent: [5, 6]) == .refused(.wrongSize))
        #expect(try verdict([5], sent: [6]) == .refused(.wrongDigest))
        #expect(try verdict([66]) == .refused(.undecodable))
        ledger.stageOwn(Transition(layer: 0, codec: 3, payload: [5]), digest: sha256([5]))
        #expect(try verdict([5]) == .duplicate)
        let different = BusError.computedDifferently(step: 1, layer: 0, owner: 0, borrower: 1)
        #expect(throws: different) { try verdict([6]) }
        #expect(different.exitCode == .software)
    }
}

/// Layers computed for other ranks, between ranks that are threads of this process.
@Suite(.serialized) struct HandoverExchangeTests {
    /// Rank 0 takes ten times as long as the others.
    static func drill(_ transport: BusTransport, faults: Double = 0) -> BusDrill {
        var drill = BusDrill(layers: 24, steps: 8, payloadBytes: 100_000, transport: transport, faults: faults)
        drill.milliseconds = [10, 1, 1]
        return drill
    }

    @Test(arguments: [BusTransport.ipc, .tcp], [BusTopology.Choice.direct, .relay])
    func `ranks that are ready compute for one that is slow, with the bits of a broadcast`(
        transport: BusTransport, topology: BusTopology.Choice
    ) async throws {
        var drill = Self.drill(transport)
        drill.topology = topology
        if topology == .relay { drill.ranksPerRelay = 2 }
        let expected = try drill.run(LoopbackCommunicator()).digest
        let outcomes = try await ThreadWorld.results(size: 3) { [drill] in try drill.run($0) }
        #expect(outcomes.allSatisfy { $0.digest == expected && $0.applied == 192 })
        // Of the slow rank's 64 layers.
        #expect(outcomes[0].statistics.takenOver > 16)
        #expect(outcomes.map(\.statistics.refused) == [[:], [:], [:]])
        #expect(outcomes.reduce(0) { $0 + $1.statistics.replays + $1.statistics.requests } == 0)
        #expect(outcomes.reduce(0) { $0 + $1.statistics.transitionsPublished } == 192)
    }

    @Test func `of claims, answers and results dropped, doubled, reordered and corrupted nothing is lost`() async throws {
        let drill = Self.drill(.ipc, faults: 0.05)
        let expected = try drill.run(LoopbackCommunicator()).digest
        let outcomes = try await ThreadWorld.results(size: 3) { try drill.run($0) }
        #expect(outcomes.allSatisfy { $0.digest == expected && $0.applied == 192 })
        #expect(outcomes[0].statistics.takenOver > 8)
    }

    /// The state of the conversation below.
    final class Stage: Sendable {
        let hasLent = Atomic<Bool>(false)
        let isOver = Atomic<Bool>(false)
    }

    /// Milliseconds of a layer by which a loan is due after more than a minute: for answers that are to be in time.
    private static let patient = 20_000

    /// Rank 0 owns three layers, of which rank 1 borrows one; what it sends instead of computing it is up to `answer`.
    /// Returns, of rank 0, the layers it has computed, its statistics, and the seconds the step has taken.
    ///
    /// - Parameters:
    ///   - milliseconds: what a layer is expected to take.
    ///   - late: whether it answers after the owner has done without.
    ///   - isHeard: whether all that is sent has come to the owner, which waits for it.
    private func borrowing(
        milliseconds: Int = 30, late: Bool = false, until isHeard: @escaping @Sendable (BusStatistics) -> Bool = { _ in true },
        _ answer: @escaping @Sendable (ZeroMQExchange<ThreadCommunicator>, BusDrill) throws -> Void
    ) async -> [Result<(computed: [Int], statistics: BusStatistics, seconds: Double), any Error>] {
        var drill = BusDrill(layers: 3, steps: 1, transport: .ipc)
        drill.seed = 3
        let stage = Stage()
        return await ThreadWorld.run(size: 2) { [drill] world in
            let bus = try ZeroMQExchange(world, drill.configuration(rank: world.rank), MessagingContext())
            let start = ContinuousClock.now
            let deadline = start + .seconds(60)
            @Sendable func wait(for flag: borrowing Atomic<Bool>) {
                while !flag.load(ordering: .acquiring), ContinuousClock.now < deadline { usleep(1000) }
            }
            var computed: [Int] = []
            func compute(_ layers: [Int]) -> [Transition] {
                computed += layers
                return layers.map { drill.transition(step: 0, layer: $0) }
            }
            // Rank 1 knows no times, and so makes no claim by itself.
            let expected = world.rank == 0 ? [Int](repeating: milliseconds * 1_000_000, count: 3) : nil
            try bus.beginStep(0, StepPlan(owners: [0, 0, 0], expected: expected))
            if world.rank == 0 {
                while let layer = bus.next(1).first {
                    // Until the other one has had the last one.
                    while layer == 0, !bus.handover.isOwed, ContinuousClock.now < deadline { try bus.poll() }
                    stage.hasLent.store(true, ordering: .releasing)
                    for transition in compute([layer]) { try bus.publish(transition) }
                }
                try bus.collect({ _ in }, computing: compute)
                stage.isOver.store(true, ordering: .releasing)
                while !isHeard(bus.statistics), ContinuousClock.now < deadline { try bus.poll() }
            } else {
                var one: [UInt8] = []
                one.append(littleEndian: UInt32(1))
                let claim = FrameHeader(.claim, attempt: 0, owner: 1, step: 0, sequence: 1, payload: one)
                _ = try bus.links.ask(0, claim.encoded, one)
                wait(for: stage.hasLent)
                if late { wait(for: stage.isOver) }
                try answer(bus, drill)
                try bus.collect({ _ in }, computing: compute)
            }
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            try world.barrier()
            return (computed, bus.statistics, seconds)
        }
    }

    private static func send(
        _ transition: Transition, claiming owner: Int = 1, _ bus: ZeroMQExchange<ThreadCommunicator>
    ) throws {
        let header = FrameHeader(
            .result, attempt: 0, owner: owner, step: 0, layer: transition.layer, codec: transition.codec,
            payload: transition.payload)
        _ = try bus.links.answer(0, header.encoded, transition.payload)
    }

    @Test func `what a rank has borrowed and never delivers the owner computes, once it is due`() async throws {
        let owner = try await borrowing { _, _ in }[0].get()
        #expect(owner.computed == [0, 1, 2] && owner.statistics.takenOver == 0)
        #expect(owner.seconds > 0.36)
    }

    @Test func `what it delivers is published and not computed again`() async throws {
        let owner = try await borrowing(milliseconds: Self.patient) { bus, drill in
            try Self.send(drill.transition(step: 0, layer: 2), bus)
            try Self.send(drill.transition(step: 0, layer: 2), bus)
        }[0].get()
        #expect(owner.computed == [0, 1] && owner.statistics.takenOver == 1 && owner.statistics.transitionsPublished == 3)
    }

    @Test func `what it delivers too late is a duplicate`() async throws {
        let owner = try await borrowing(late: true, until: { $0.duplicates > 0 }) { bus, drill in
            try Self.send(drill.transition(step: 0, layer: 2), bus)
        }[0].get()
        #expect(owner.computed == [0, 1, 2] && owner.statistics.takenOver == 0 && owner.statistics.duplicates == 1)
    }

    @Test func `what was not borrowed, does not decode or is another rank's changes nothing`() async throws {
        let refused: [Refusal: Int] = [
            .wrongOwner: 1, .stale: 2, .undecodable: 1, .wrongSize: 1, .wrongDigest: 3, .malformed: 1,
        ]
        let count = refused.values.reduce(0, +)
        let owner = try await borrowing(
            milliseconds: Self.patient, until: { $0.refused.values.reduce(0, +) >= count }
        ) { bus, drill in
            try Self.send(drill.transition(step: 0, layer: 1), bus)
            try Self.send(drill.transition(step: 0, layer: 2), claiming: 0, bus)
            try Self.send(Transition(layer: 2, codec: 99, payload: [1]), bus)
            try Self.send(Transition(layer: 2, codec: 2, payload: [UInt8](repeating: 1, count: 300)), bus)
            // Claims: without a number of layers, with a digest of something else, of another rank; an answer to none.
            let one: [UInt8] = [1, 0, 0, 0]
            for header in [
                FrameHeader(.claim, attempt: 0, owner: 1, sequence: 2), FrameHeader(.claim, attempt: 0, owner: 0, sequence: 3),
                FrameHeader(.claim, attempt: 0, owner: 1, sequence: 4, payload: [2, 0, 0, 0]),
            ] { _ = try bus.links.ask(0, header.encoded, header.byteCount == 0 ? [] : one) }
            for payload in [one, [1, 2]] {
                let header = FrameHeader(.grant, attempt: 0, owner: 1, sequence: 9, payload: payload)
                _ = try bus.links.answer(0, header.encoded, payload)
            }
            // What was borrowed is waited for still.
            try Self.send(drill.transition(step: 0, layer: 2), bus)
        }[0].get()
        #expect(owner.computed == [0, 1] && owner.statistics.takenOver == 1)
        #expect(owner.statistics.refused == refused)
    }
}
