internal import TensorCore

/// Products of backward passes that no other part of them waits for, put off until there is time: those of the gradients of
/// weights and rotations.
///
/// The stage before gets ∂loss/∂input that much sooner, and what is put off fills the time that stages wait for each other (the
/// weight passes of zero-bubble schedules, Qi et al., arXiv 2401.10241, section 2).
///
/// They are made in the order in which they were put off, so that each gradient is added up in the order of a backward pass
/// that puts nothing off: the sums have the same bits.
package final class WeightGradientQueue {
    /// By backward pass, the oldest first; of each what was put off last comes first.
    private var closed: [[() -> Void]] = []
    private var open: [() -> Void] = []

    package init() {}

    func add(_ product: @escaping () -> Void) { open.append(product) }

    /// Ends a backward pass: what comes now belongs to the next one.
    package func endPass() {
        if !open.isEmpty { closed.append(open.reversed()) }
        open = []
    }

    /// Ended backward passes of which products are left; each keeps its linear layers' inputs and output gradients.
    package var passCount: Int { closed.count }

    /// Makes the oldest product that is left. - Precondition: there is one.
    package func advance() {
        let product = closed[0].removeLast()
        if closed[0].isEmpty { closed.removeFirst() }
        product()
    }
}

extension WeightGradientQueue? {
    /// Has the queue make a product, or makes it at once where there is none.
    package func run(_ product: @escaping () -> Void) {
        if let self { self.add(product) } else { product() }
    }
}

extension GradientSink {
    /// As ``update(_:)``, once `queue` comes to it: a leaf that hands its gradient over does so no sooner.
    func update(in queue: WeightGradientQueue?, _ body: @escaping (_ gradient: inout Tensor, _ beta: Float) -> Void) {
        guard isWanted else { return }
        beginUse()
        queue.run {
            update(body)
            endUse()
        }
    }
}
