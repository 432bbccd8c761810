/// When to ask an owner for what is lost, and when to give up. Pure: time is passed in.
///
/// Connections keep order. So a frame of an owner shows that what it published before and has not arrived is lost, and nothing
/// else shows it: an owner from which nothing comes still computes, or waits for the processor, and is not asked. Once it has
/// said that it has published everything, five requests in a row without any effect, or 30 s without one, are a failure.
struct RepairSchedule {
    enum Decision: Equatable { case wait, ask, giveUp(afterSeconds: Double) }

    private struct State {
        var next: ContinuousClock.Instant
        var interval: Duration
        var tries = 0
        var missing: Int
        /// Whether its stream has shown a gap.
        var hasGap = false
        /// When the owner was first known to have published everything, or of the last progress since.
        var ended: ContinuousClock.Instant?
    }

    private let timing: BusConfiguration.Timing
    /// When the step began, or the last progress was made: what arrives shows that owners live.
    private var start: ContinuousClock.Instant
    private var states: [Int: State] = [:]

    init(_ timing: BusConfiguration.Timing, now: ContinuousClock.Instant) {
        self.timing = timing
        start = now
    }

    /// What to do about an owner of whom `missing` transitions have not arrived.
    ///
    /// - Parameters:
    ///   - hasGap: whether its stream has shown a gap since this was last asked.
    ///   - hasEnded: whether it has said that it has published everything.
    mutating func decide(owner: Int, missing: Int, hasGap: Bool, hasEnded: Bool, now: ContinuousClock.Instant) -> Decision {
        var state = states[owner] ?? State(next: now, interval: timing.query, missing: missing)
        defer { states[owner] = state }
        if missing < state.missing {
            (state.missing, state.tries, state.interval) = (missing, 0, timing.query)
            state.next = max(state.next, now + timing.query)
            start = now
            if state.ended != nil { state.ended = now }
        }
        if hasGap { (state.hasGap, state.next) = (true, now) }
        if hasEnded, state.ended == nil { (state.ended, state.next) = (now, now) }
        if let ended = state.ended, now - ended > timing.repair || state.tries >= timing.repairTries && now >= state.next {
            return .giveUp(afterSeconds: (now - ended).seconds)
        }
        if let silence = timing.silence, now - start > silence { return .giveUp(afterSeconds: (now - start).seconds) }
        guard state.hasGap || hasEnded, now >= state.next else { return .wait }
        if hasEnded { state.tries += 1 }
        state.next = now + state.interval
        state.interval = min(state.interval * 2, timing.queryLimit)
        return .ask
    }
}

/// When an owner that waits announces again what it has published: a loss at the end of its stream shows by nothing else.
struct Announcements {
    /// Up to so many ranks the pauses grow to ``BusConfiguration/Timing/queryLimit``, beyond in proportion: what a rank hears
    /// of all others together stays bounded.
    private static let ranks = 64

    private let first: Duration
    private let limit: Duration
    private var next: ContinuousClock.Instant
    private var pause: Duration

    init(_ timing: BusConfiguration.Timing, ranks: Int, now: ContinuousClock.Instant) {
        first = timing.query
        limit = timing.queryLimit * max(1, ranks / Self.ranks)
        (next, pause) = (now + first, first)
    }

    /// The owner has said it just now.
    mutating func begin(now: ContinuousClock.Instant) { (next, pause) = (now + first, first) }

    /// Whether it is time; counted as done.
    mutating func areDue(now: ContinuousClock.Instant) -> Bool {
        guard now >= next else { return false }
        pause = min(pause * 2, limit)
        next = now + pause
        return true
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
