import Testing

@testable import Collectives

/// Three ranks, rank 0 looking; times in seconds, the limit being 10.
@Suite struct SilenceTests {
    private static func at(_ seconds: Double) -> UInt64 { UInt64(seconds * 1e9) }
    private var silence = Silence(rank: 0, size: 3, now: 0)
    private func verdict(_ now: Double, idle: Double = 0) -> Silence.Verdict? {
        silence.verdict(limit: Self.at(10), idle: Self.at(idle), now: Self.at(now))
    }

    @Test mutating func `a rank that gets work done is waited for without end`() {
        silence.setWaiting(true, now: 0)
        for second in stride(from: 0.0, to: 100, by: 1) {
            silence.note(.init(isWaiting: false, idle: Self.at(9)), from: 1, now: Self.at(second))
            silence.note(.init(isWaiting: true, idle: Self.at(second)), from: 2, now: Self.at(second))
            #expect(verdict(second, idle: second) == nil)
        }
    }

    @Test mutating func `a rank that answers and gets nothing done is given up`() {
        silence.setWaiting(true, now: 0)
        silence.note(.init(isWaiting: true, idle: 0), from: 1, now: Self.at(10))
        silence.note(.init(isWaiting: false, idle: Self.at(9)), from: 2, now: Self.at(10))
        #expect(verdict(10) == nil)
        silence.note(.init(isWaiting: false, idle: Self.at(10)), from: 2, now: Self.at(11))
        #expect(verdict(11) == .idle(rank: 2, seconds: 10))
    }

    @Test mutating func `a rank that does not answer is given up, by its neighbor also while that one works`() {
        #expect(silence.watched == [1])
        silence.note(.init(isWaiting: false, idle: 0), from: 1, now: Self.at(3))
        #expect(verdict(12.9) == nil)
        #expect(verdict(13) == .unanswered(rank: 1, seconds: 10, hasAnswered: true))
        silence.note(.init(isWaiting: false, idle: 0), from: 1, now: Self.at(13))
        silence.setWaiting(true, now: Self.at(13))
        #expect(silence.watched == [1, 2])
        silence.note(.init(isWaiting: false, idle: 0), from: 1, now: Self.at(23))
        #expect(verdict(23) == .unanswered(rank: 2, seconds: 10, hasAnswered: false))
    }

    @Test mutating func `where all wait and nothing gets done, a message is lost`() {
        silence.setWaiting(true, now: 0)
        for peer in [1, 2] { silence.note(.init(isWaiting: true, idle: Self.at(11)), from: peer, now: Self.at(11)) }
        #expect(verdict(11, idle: 3) == nil)
        #expect(verdict(11, idle: 11) == .deadlock(seconds: 11))
    }

    @Test mutating func `a rank that was stopped itself blames nobody for what it did not hear`() {
        silence.setWaiting(true, now: 0)
        silence.forgive(Self.at(60))
        #expect(verdict(62) == nil)
    }
}
