/// What a rank knows of the others, and when it must give them up. Pure: time, in monotonic nanoseconds, is passed in.
///
/// A rank that gets work done is not lost, however long others wait for it. One that answers nothing for the limit is (a
/// stopped process, a dead node); one that answers, waits for nobody and has got nothing done for the limit hangs; and where
/// all wait and nothing gets done anywhere, a message is lost.
struct Silence {
    /// What a rank reports about itself.
    struct Report: Equatable {
        var isWaiting: Bool
        /// Nanoseconds since it last got something done.
        var idle: UInt64
    }

    enum Verdict: Equatable {
        case unanswered(rank: Int, seconds: Double, hasAnswered: Bool)
        case idle(rank: Int, seconds: Double)
        case deadlock(seconds: Double)
    }

    private let rank: Int
    private var heard: [UInt64]
    private var reports: [Report?]
    /// Since when this rank waits; nil while it works.
    private(set) var waiting: UInt64?

    init(rank: Int, size: Int, now: UInt64) {
        self.rank = rank
        heard = Array(repeating: now, count: size)
        reports = Array(repeating: nil, count: size)
    }

    /// While it works a rank looks after its successor only, so that each is looked after; while it waits, after all.
    var watched: [Int] {
        guard heard.count > 1 else { return [] }
        return waiting == nil ? [(rank + 1) % heard.count] : heard.indices.filter { $0 != rank }
    }

    mutating func setWaiting(_ isWaiting: Bool, now: UInt64) {
        guard isWaiting != (waiting != nil) else { return }
        waiting = isWaiting ? now : nil
        // Those not looked after until now are asked from now on.
        if isWaiting { for peer in heard.indices where peer != (rank + 1) % heard.count { heard[peer] = now } }
    }

    mutating func note(_ report: Report, from peer: Int, now: UInt64) {
        guard heard.indices.contains(peer) else { return }
        heard[peer] = now
        reports[peer] = report
    }

    /// This process itself did not run for a while: what it has not heard meanwhile proves nothing.
    mutating func forgive(_ nanoseconds: UInt64) {
        for peer in heard.indices { heard[peer] += nanoseconds }
        if let start = waiting { waiting = start + nanoseconds }
    }

    /// - Parameter idle: nanoseconds since this rank has got something done.
    func verdict(limit: UInt64, idle: UInt64, now: UInt64) -> Verdict? {
        func seconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) * 1e-9 }
        for peer in watched where now >= heard[peer] + limit {
            return .unanswered(rank: peer, seconds: seconds(now - heard[peer]), hasAnswered: reports[peer] != nil)
        }
        guard let waiting, now >= waiting + limit else { return nil }
        var (allWait, least) = (true, idle)
        for peer in watched {
            guard let report = reports[peer] else { return nil }
            let idle = report.idle + (now - min(now, heard[peer]))
            if !report.isWaiting, idle >= limit { return .idle(rank: peer, seconds: seconds(idle)) }
            allWait = allWait && report.isWaiting
            least = min(least, idle)
        }
        return allWait && least >= limit ? .deadlock(seconds: seconds(least)) : nil
    }
}
