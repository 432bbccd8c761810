import Support
import TensorCore
import Testing

@testable import TransitionBus

@Suite struct FrameTests {
    let header = FrameHeader(
        .transition, attempt: 3, owner: 5, step: 1 << 40, layer: 77, codec: 2, sequence: 9, payload: [1, 2, 3])

    /// RFC 3720, B.4, and the check value of the CRC catalog.
    @Test func `CRC-32C gives its known answers`() {
        #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
        #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32C.checksum([UInt8](0..<32)) == 0x46DD_794E)
    }

    @Test func `a header comes back from its 84 bytes`() {
        #expect(header.encoded.count == FrameHeader.size)
        #expect(FrameHeader(decoding: header.encoded) == header)
    }

    @Test func `a header with any bit changed, or of another length, is refused`() {
        let bytes = header.encoded
        for bit in 0..<8 * bytes.count {
            var changed = bytes
            changed[bit / 8] ^= 1 << (bit % 8)
            #expect(FrameHeader(decoding: changed) == nil)
        }
        for length in [0, 4, 83] { #expect(FrameHeader(decoding: Array(bytes.prefix(length))) == nil) }
        #expect(FrameHeader(decoding: bytes + [0]) == nil)
    }

    @Test func `a header of a later version or an unknown kind is refused though its checksum is right`() {
        for (offset, value) in [(4, UInt8(2)), (6, 0), (6, 10), (28, 1)] {
            var bytes = header.encoded
            bytes[offset] = value
            bytes.replaceSubrange(80..<84, with: [])
            bytes.append(littleEndian: CRC32C.checksum(bytes))
            #expect(FrameHeader(decoding: bytes) == nil)
        }
    }
}

@Suite struct LedgerTests {
    struct Undecodable: Error {}

    func ledger() -> StepLedger {
        var ledger = StepLedger(payloadLimits: [10, 10, 4], attempt: 1, firstStep: 0) {
            if $0.payload == [66] { throw Undecodable() }
        }
        _ = ledger.begin(step: 0, owners: [0, 1, 1])
        return ledger
    }

    func header(step: Int = 0, layer: Int, owner: Int = 1, attempt: UInt32 = 1, _ payload: [UInt8]) -> FrameHeader {
        FrameHeader(.transition, attempt: attempt, owner: owner, step: step, layer: layer, payload: payload)
    }

    @Test func `a transition is staged once, and ignored when it comes again`() throws {
        var ledger = ledger()
        #expect(try ledger.offer(header(layer: 1, [5]), [5], from: 1) == .staged)
        #expect(try ledger.offer(header(layer: 1, [5]), [5], from: 1) == .duplicate)
        #expect(ledger.missing == [0: [0], 1: [2]])
        #expect(!ledger.isComplete)
    }

    @Test func `another payload for the same transition is the owner's fault`() throws {
        var ledger = ledger()
        _ = try ledger.offer(header(layer: 1, [5]), [5], from: 1)
        #expect(throws: BusError.conflict(step: 0, layer: 1, owner: 1)) {
            try ledger.offer(header(layer: 1, [6]), [6], from: 1)
        }
        #expect(BusError.conflict(step: 0, layer: 1, owner: 1).exitCode == .software)
    }

    @Test func `what does not fit is refused for the right reason`() throws {
        var ledger = ledger()
        func verdict(_ header: FrameHeader, _ payload: [UInt8], from sender: Int = 1) throws -> StepLedger.Verdict {
            try ledger.offer(header, payload, from: sender)
        }
        #expect(try verdict(header(layer: 1, attempt: 2, [5]), [5]) == .refused(.stale))
        #expect(try verdict(header(step: 2, layer: 1, [5]), [5]) == .refused(.stale))
        #expect(try verdict(header(layer: 0, [5]), [5]) == .refused(.wrongOwner))
        #expect(try verdict(header(layer: 1, [5]), [5], from: 0) == .refused(.wrongOwner))
        #expect(try verdict(header(layer: 9, [5]), [5]) == .refused(.wrongOwner))
        #expect(try verdict(header(layer: 2, [1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]) == .refused(.wrongSize))
        #expect(try verdict(header(layer: 1, [5]), [5, 6]) == .refused(.wrongSize))
        #expect(try verdict(header(layer: 1, [5]), [6]) == .refused(.wrongDigest))
        #expect(try verdict(header(layer: 1, [66]), [66]) == .refused(.undecodable))
        var huge = header(layer: 1, [5])
        huge.step = .max
        #expect(try verdict(huge, [5]) == .refused(.stale))
    }

    @Test func `a faster rank's next step waits until it begins, and only its owner's counts`() throws {
        var ledger = ledger()
        #expect(try ledger.offer(header(step: 1, layer: 0, [7]), [7], from: 1) == .early)
        #expect(try ledger.offer(header(step: 1, layer: 1, [8]), [8], from: 1) == .early)
        #expect(try ledger.offer(header(step: 1, layer: 1, [8]), [8], from: 1) == .duplicate)
        ledger.noteEnd(FrameHeader(.end, attempt: 1, owner: 1, step: 1), from: 1)
        #expect(!ledger.hasEnded(1))
        #expect(ledger.begin(step: 1, owners: [1, 0, 0]) == [.wrongOwner])
        #expect(ledger.hasEnded(1))
        #expect(ledger.missing == [0: [1, 2]])
        // What was sent again for the step before, and comes late, is nothing new.
        #expect(try ledger.offer(header(step: 0, layer: 1, [5]), [5], from: 1) == .duplicate)
    }

    @Test func `before the first step, its transitions count as early`() throws {
        var ledger = StepLedger(payloadLimits: [10], attempt: 1, firstStep: 0) { _ in }
        #expect(try ledger.offer(header(layer: 0, [7]), [7], from: 1) == .early)
        _ = ledger.begin(step: 0, owners: [1])
        #expect(ledger.arrived.map { ledger.transition($0) } == [Transition(layer: 0, codec: 0, payload: [7])])
    }
}

@Suite struct RepairScheduleTests {
    let start = ContinuousClock.now

    @Test func `an owner from which nothing comes is not asked, and given up only after the silence that is allowed`() {
        var schedule = RepairSchedule(.init(), now: start)
        for tick in 0..<18_000 {
            let now = start + .milliseconds(10 * tick)
            #expect(schedule.decide(owner: 1, missing: 2, hasGap: false, hasEnded: false, now: now) == .wait)
        }
        let late = schedule.decide(owner: 1, missing: 2, hasGap: false, hasEnded: false, now: start + .seconds(181))
        #expect(late == .giveUp(afterSeconds: 181))
    }

    @Test func `an owner whose stream has a gap is asked at once and at growing intervals, and not given up while it computes`()
    {
        var schedule = RepairSchedule(.init(), now: start)
        var asked: [Int] = []
        for tick in 0..<1000 {
            let decision = schedule.decide(
                owner: 1, missing: 2, hasGap: tick == 5, hasEnded: false, now: start + .milliseconds(10 * tick))
            if decision == .ask { asked.append(10 * tick) } else { #expect(decision == .wait) }
        }
        #expect(asked == [50, 300, 800, 1800, 3800, 5800, 7800, 9800])
    }

    @Test func `an owner that has published everything is asked at once, and given up after five requests without effect`() {
        var schedule = RepairSchedule(.init(), now: start)
        var asked: [Int] = []
        var end: Duration?
        for tick in 0..<2000 where end == nil {
            switch schedule.decide(owner: 1, missing: 1, hasGap: false, hasEnded: true, now: start + .milliseconds(10 * tick)) {
            case .ask: asked.append(10 * tick)
            case .giveUp: end = .milliseconds(10 * tick)
            case .wait: break
            }
        }
        #expect(asked == [0, 250, 750, 1750, 3750])
        // The last one has had its time to help.
        #expect(end == .milliseconds(5750))
    }

    @Test func `progress starts the count anew`() {
        var schedule = RepairSchedule(.init(), now: start)
        #expect(schedule.decide(owner: 1, missing: 5, hasGap: false, hasEnded: true, now: start) == .ask)
        // Longer than a repair without progress may take.
        for round in 0..<16 {
            let decision = schedule.decide(
                owner: 1, missing: 4 - round / 4, hasGap: false, hasEnded: true, now: start + .milliseconds(2500 * round))
            #expect(decision == .wait || decision == .ask)
        }
    }

    @Test
    func `an owner that waits says again what it has published, at pauses that grow to two seconds, or with many ranks more`() {
        func pauses(ranks: Int) -> [Int] {
            var announcements = Announcements(.init(), ranks: ranks, now: start)
            let times = (0..<4000).filter { announcements.areDue(now: start + .milliseconds(10 * $0)) }.map { 10 * $0 }
            return times.prefix(8).indices.map { times[$0] - ($0 > 0 ? times[$0 - 1] : 0) }
        }
        #expect(pauses(ranks: 64) == [250, 500, 1000, 2000, 2000, 2000, 2000, 2000])
        #expect(pauses(ranks: 1024).max() ?? 0 > 10_000)
    }
}

@Suite struct StateDigestTests {
    @Test func `any changed bit, length or order changes the digest`() {
        var random = RandomStream(seed: 5)
        let tensor = Tensor(normal: [3, 67], from: &random)
        let digest = stateDigest([tensor])
        #expect(stateDigest([tensor.copy()]) == digest)
        for element in 0..<tensor.count {
            for bit in [0, 13, 31] {
                var changed = tensor.copy()
                changed[flat: element] = Float(bitPattern: changed[flat: element].bitPattern ^ 1 << UInt32(bit))
                #expect(stateDigest([changed]) != digest)
            }
        }
        // Zeros are no padding, and two tensors are not one.
        #expect(stateDigest([Tensor(zeros: [5])]) != stateDigest([Tensor(zeros: [6])]))
        #expect(
            stateDigest([Tensor(zeros: [2]), Tensor(zeros: [3])]) != stateDigest([Tensor(zeros: [3]), Tensor(zeros: [2])]))
        #expect(stateDigest([Tensor(zeros: [2]), Tensor(zeros: [3])]) != stateDigest([Tensor(zeros: [5])]))
    }
}
