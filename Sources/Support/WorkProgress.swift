internal import Synchronization

/// Counts what this process has got done, so that others can tell whether it works or hangs: matrix products, rounds of a
/// decomposition, micro-batches, pieces of files, messages. Something that is alive and gets nowhere counts nothing.
package enum WorkProgress {
    private static let milestones = Atomic<UInt64>(0)

    /// One more piece of work is done.
    @inline(__always) package static func note() { milestones.wrappingAdd(1, ordering: .relaxed) }

    package static var count: UInt64 { milestones.load(ordering: .relaxed) }
}
