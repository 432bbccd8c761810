internal import Glibc
internal import TernarySVD
internal import TransitionBus

/// Which rank computes which layer's transition: dealt by what the layers took when a step of the same kind was last made,
/// before that by their sizes, in any case the largest first.
///
/// Who computes a transition does not show in it: it depends on what all ranks have of the layer, and on its adaptation, which
/// travels with each transition. So layers change hands freely, and the measurements need no care.
struct TransitionDispatch {
    /// A step in which U and V follow the weights takes other times than one in which they stay.
    enum Kind { case first, adapting, refreshing }

    let ranks: Int
    /// Weights per layer.
    private let sizes: [Int]
    private var measured: [Kind: [Int]] = [:]

    init(sizes: [Int], ranks: Int) { (self.sizes, self.ranks) = (sizes, ranks) }

    /// The owner of each layer, the layers in the order in which owners compute them, and what they took when a step of the
    /// kind was last made. The same on all ranks.
    func plan(_ kind: Kind) -> StepPlan {
        let costs = measured[kind] ?? sizes
        let order = costs.indices.sorted { (costs[$1], $0) < (costs[$0], $1) }
        let dealt = GreedyDispatch.owners(sizes: order.map { costs[$0] }, ranks: ranks)
        var owners = costs.map { _ in 0 }
        for (layer, owner) in zip(order, dealt) { owners[layer] = owner }
        return StepPlan(owners: owners, order: order, expected: measured[kind])
    }

    /// Takes what all ranks have agreed on.
    /// - Parameter nanoseconds: of every layer.
    mutating func note(_ nanoseconds: [Int64], _ kind: Kind) {
        precondition(nanoseconds.count == sizes.count, "\(nanoseconds.count) times of \(sizes.count) layers")
        measured[kind] = nanoseconds.map { Int(clamping: max(1, $0)) }
    }

    /// Nanoseconds of the processor's time that this thread has taken: of two layers it tells which is more work, however many
    /// ranks share a core.
    static var processorTime: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
