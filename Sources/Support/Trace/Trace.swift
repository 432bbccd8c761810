internal import Glibc
internal import Synchronization

/// How this process spends its time: spans of its work, kept in memory while a run is traced.
///
/// One thread is traced, the one that called ``begin(limit:)``; its spans nest. Without a trace a span costs a load and a
/// branch, with one two readings of the clock and a store: the memory of all spans is there from the beginning.
package enum Trace {
    /// A stretch of time, in nanoseconds of CLOCK_MONOTONIC.
    package struct Span: Sendable, Equatable, BitwiseCopyable {
        package var begin: UInt64
        package var end: UInt64
        /// Of the micro-batch, the step or the layer; negative without one.
        package var number: Int32
        package var kind: Kind

        package init(_ kind: Kind, _ number: Int32 = -1, from begin: UInt64, to end: UInt64) {
            (self.kind, self.number, self.begin, self.end) = (kind, number, begin, end)
        }
    }

    /// What was recorded, in the order in which spans ended.
    package struct Record: Sendable {
        package var spans: [Span] = []
        /// Spans that ended when there was no room any more.
        package var dropped = 0
    }

    /// Spans of a process that are kept unless less is asked for: 3 MiB.
    package static let defaultLimit = 1 << 17

    /// The thread that is traced; 0 without a trace.
    private static let thread = Atomic<UInt>(0)
    nonisolated(unsafe) private static var record = Record()
    nonisolated(unsafe) private static var limit = 0

    /// Whether the calling thread is traced.
    @inline(__always) private static var isOn: Bool {
        let traced = thread.load(ordering: .relaxed)
        return traced != 0 && traced == UInt(pthread_self())
    }

    /// From here on the calling thread's spans are kept, the first `limit` of them. Each process traces one thread at a time.
    package static func begin(limit: Int = defaultLimit) {
        record = Record()
        record.spans.reserveCapacity(limit)
        Self.limit = limit
        thread.store(UInt(pthread_self()), ordering: .relaxed)
    }

    /// Ends the trace, on the thread that began it.
    package static func end() -> Record {
        thread.store(0, ordering: .relaxed)
        defer { record = Record() }
        return record
    }

    /// Performs work as one span.
    ///
    /// - Parameter number: which micro-batch, step or layer.
    package static func span<Result, Failure: Error>(
        _ kind: Kind, _ number: Int = -1, _ work: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard isOn else { return try work() }
        let begin = now()
        defer { keep(kind, number, from: begin) }
        return try work()
    }

    private static func keep(_ kind: Kind, _ number: Int, from begin: UInt64) {
        guard record.spans.count < limit else {
            record.dropped += 1
            return
        }
        record.spans.append(Span(kind, Int32(clamping: number), from: begin, to: now()))
    }

    /// Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
    package static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
