internal import Glibc
internal import TernarySVD
internal import TransitionBus

/// Decides which rank computes which layer's transition: by the time of the layers in the last step of the same kind, at first
/// by their sizes, always the largest first.
///
/// The result of a transition does not depend on which rank computes it: it depends on the layer's state, which all ranks have,
/// and on its adaptation, which is sent with each transition. So layers can change owners freely, and the measurements need not
/// be exact.
struct TransitionDispatch {
    /// A step in which U and V are adapted takes other times than one in which they stay.
    enum Kind { case first, adapting, refreshing }

    let ranks: Int
    /// Weights per layer.
    private let sizes: [Int]
    private var measured: [Kind: [Int]] = [:]

    init(sizes: [Int], ranks: Int) { (self.sizes, self.ranks) = (sizes, ranks) }

    /// The owner of each layer, the layers in the order in which owners compute them, and their times in the last step of the
    /// kind. The same on all ranks.
    func plan(_ kind: Kind) -> StepPlan {
        let costs = measured[kind] ?? sizes
        let order = costs.indices.sorted { (costs[$1], $0) < (costs[$0], $1) }
        let dealt = GreedyDispatch.owners(sizes: order.map { costs[$0] }, ranks: ranks)
        var owners = costs.map { _ in 0 }
        for (layer, owner) in zip(order, dealt) { owners[layer] = owner }
        return StepPlan(owners: owners, order: order, expected: measured[kind])
    }

    /// Notes the times that all ranks have agreed on.
    /// - Parameter nanoseconds: nanoseconds of every layer.
    mutating func note(_ nanoseconds: [Int64], _ kind: Kind) {
        precondition(nanoseconds.count == sizes.count, "\(nanoseconds.count) times of \(sizes.count) layers")
        measured[kind] = nanoseconds.map { Int(clamping: max(1, $0)) }
    }

    /// Nanoseconds of processor time that this thread has used. It shows which of two layers is more work, however many ranks
    /// share a core.
    static var processorTime: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
