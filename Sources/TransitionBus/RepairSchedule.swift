/// When to ask an owner for what is missing, and when to give up. Pure: time is passed in.
///
/// An owner that still computes cannot answer, so requests to it are only repeated at growing intervals; once it has said that
/// it has published everything, five requests in a row without any effect, or 30 s, are a failure.
struct RepairSchedule {
    enum Decision: Equatable { case wait, ask, giveUp(afterSeconds: Double) }

    private struct State {
        var next: ContinuousClock.Instant
        var interval: Duration
        var tries = 0
        var missing: Int
        /// When the owner was first known to have published everything.
        var ended: ContinuousClock.Instant?
    }

    private let timing: BusConfiguration.Timing
    /// Of the step, or of the last progress: what arrives shows that owners live.
    private var start: ContinuousClock.Instant
    private var states: [Int: State] = [:]

    init(_ timing: BusConfiguration.Timing, now: ContinuousClock.Instant) {
        self.timing = timing
        start = now
    }

    /// A gap in the owner's stream: something is lost, so ask at once.
    mutating func noteGap(of owner: Int, now: ContinuousClock.Instant) { states[owner]?.next = now }

    /// What to do about an owner of whom `missing` transitions have not arrived.
    mutating func decide(owner: Int, missing: Int, hasEnded: Bool, now: ContinuousClock.Instant) -> Decision {
        var state = states[owner] ?? State(next: now + timing.query, interval: timing.query, missing: missing)
        defer { states[owner] = state }
        if missing < state.missing {
            (state.missing, state.tries, state.interval) = (missing, 0, timing.query)
            state.next = max(state.next, now + timing.query)
            start = now
        }
        if hasEnded, state.ended == nil { state.ended = now }
        if let ended = state.ended, now - ended > timing.repair || state.tries > timing.repairTries {
            return .giveUp(afterSeconds: (now - ended).seconds)
        }
        if let silence = timing.silence, now - start > silence { return .giveUp(afterSeconds: (now - start).seconds) }
        guard now >= state.next else { return .wait }
        if hasEnded { state.tries += 1 }
        state.next = now + state.interval
        state.interval = min(state.interval * 2, timing.queryLimit)
        return .ask
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
