package import Autograd
package import Collectives
package import TensorCore

/// Gathers the gradients of all parameters in a few buffers and sums these over the replicas, each as soon as backward
/// passes have filled it: the network works while earlier layers are being differentiated.
///
/// Use, once per step:
///
///     buckets.begin(passes: microBatches)
///     for each micro-batch: run forward and backward with the variables of parameter(_:at:)
///     let gradients = try buckets.finish()   // summed over ranks; the caller's to change
///     buckets.reuse(gradients)               // their memory, for the next step
///
/// Several micro-batches add up in the buffers; a buffer's sum starts when the last one's gradients are in it. Sums start in
/// the order of the buckets on every rank, whatever the order in which gradients come, as collective operations must. A rank
/// without any micro-batch contributes zeros.
package final class GradientBuckets<World: Communicator> {
    /// Where each parameter's gradient lies.
    package let layout: BucketLayout
    private let world: World
    /// Empty where they have been given away.
    private var buffers: [Tensor]
    /// Gradients of each bucket's parameters that are still to come, of all backward passes.
    private var missing: [Int] = []
    private var pending: [Pending<Tensor>] = []
    /// Thrown by a reduction that was started inside the backward pass.
    private var failure: MPIError?
    /// Seconds of the last ``finish()``: what the sums took beyond the backward pass.
    package private(set) var waitSeconds = 0.0

    package init(_ layout: BucketLayout, over world: World) {
        self.layout = layout
        self.world = world
        buffers = layout.bucketCounts.map { _ in .nothing }
    }

    /// Bytes that this rank reduces in a step; 0 in a world of one.
    package var bytesPerStep: Int { world.size > 1 ? layout.count * MemoryLayout<Float>.stride : 0 }

    /// Empties the buckets.
    ///
    /// - Parameter passes: backward passes to come, each of which gives every parameter one gradient.
    package func begin(passes: Int) {
        for (index, count) in layout.bucketCounts.enumerated() {
            if buffers[index].count < count { buffers[index] = Tensor(uninitialized: [count]) }
            buffers[index].fill(0)
        }
        missing = layout.parametersPerBucket.map { passes * $0 }
        pending = []
        failure = nil
    }

    /// A leaf for parameter `index` whose gradient comes here; the value is what the forward pass uses.
    ///
    /// - Parameter frozenRow: of the value, a matrix: one that gets no gradient.
    package func parameter(_ value: Tensor, at index: Int, frozenRow: Int? = nil) -> Variable {
        precondition(value.count == layout.places[index].count, "parameter \(index) has \(value.count) elements")
        let width = frozenRow == nil ? 0 : value.columns
        let frozen = frozenRow.map { $0 * width..<($0 + 1) * width }
        return Variable(parameter: value) { [unowned self] gradient in receive(gradient, of: index, without: frozen) }
    }

    private func receive(_ gradient: Tensor, of index: Int, without frozen: Range<Int>?) {
        let place = layout.places[index]
        let (source, target) = (gradient.pointer, buffers[place.bucket].mutablePointer + place.offset)
        let frozen = frozen ?? place.count..<place.count
        Team.add(source, to: target, frozen.lowerBound)
        Team.add(source + frozen.upperBound, to: target + frozen.upperBound, place.count - frozen.upperBound)
        missing[place.bucket] -= 1
        precondition(missing[place.bucket] >= 0, "parameter \(index) has more gradients than backward passes")
        startFilled()
        progress()
    }

    /// Lets MPI move the sums under way, sooner than its own thread would.
    private func progress() {
        guard failure == nil, let newest = pending.last else { return }
        do { _ = try newest.isComplete() } catch { failure = error }
    }

    /// Starts the sums of the buckets that are full, up to the first that is not.
    private func startFilled() {
        while failure == nil, pending.count < buffers.count, missing[pending.count] == 0 { startNext() }
    }

    private func startNext() {
        let index = pending.count
        let buffer = buffers[index]
        buffers[index] = .nothing
        do {
            // Given away: a reference that stayed here would have the sum made in a copy.
            pending.append(try world.startAllReduceSum(consume buffer))
        } catch {
            failure = error
        }
    }

    /// The gradients summed over all replicas, a tensor per bucket, in memory that nothing else refers to. Collective.
    package func finish() throws(MPIError) -> [Tensor] {
        let start = ContinuousClock.now
        defer { waitSeconds = (ContinuousClock.now - start) / .seconds(1) }
        while failure == nil, pending.count < buffers.count { startNext() }
        if let failure { throw failure }
        var sums: [Tensor] = []
        for sum in pending { sums.append(try sum.wait()) }
        pending = []
        return sums
    }

    /// Takes back what ``finish()`` gave, whose memory serves the next step.
    package func reuse(_ sums: consuming [Tensor]) { buffers = sums }
}

extension Tensor {
    /// Takes the place of a tensor that has been given away.
    fileprivate static var nothing: Tensor { Tensor(zeros: [0]) }
}
