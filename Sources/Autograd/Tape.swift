package import TensorCore

/// A value on the tape, and the place where its gradient gathers if it requires one.
package struct Variable: Sendable {
    package let stored: StoredTensor
    fileprivate let slot: GradientSlot?

    /// A frozen weight may be computed at each access (see `StoredTensor`): read it once, and release it after use.
    package var value: Tensor { stored.tensor }
    package var shape: [Int] { stored.shape }

    /// A constant: nothing flows back into it.
    package init(constant value: some TensorValue) {
        stored = value.stored
        slot = nil
    }

    /// A leaf whose gradient is wanted: a parameter, or an input under test.
    package init(parameter value: Tensor) {
        stored = value.stored
        slot = GradientSlot()
    }

    /// A leaf that passes on its gradient as soon as it is complete, while the backward pass continues with earlier
    /// operations, or afterwards where a ``WeightGradientQueue`` has a part of it.
    ///
    /// - Parameter receiver: gets ∂loss/∂value once for every backward pass that reaches the leaf, when the last recorded
    ///   operation that uses it has added to it; the variable keeps nothing. Operations recorded later, as
    ///   ``Tape/recomputing(_:)`` does, are a pass of their own.
    package init(parameter value: Tensor, receiver: @escaping (_ gradient: Tensor) -> Void) {
        stored = value.stored
        slot = GradientSlot(receiver: receiver)
    }

    fileprivate init(value: Tensor, slot: GradientSlot) {
        stored = value.stored
        self.slot = slot
    }

    package var requiresGradient: Bool { slot != nil }

    /// ∂loss/∂value after ``Tape/backward(from:gradient:)``, for leaves; nil if nothing reached it.
    package var gradient: Tensor? { slot?.sum }

    /// The place where ∂loss/∂value is added up. A derivative that does not need the value captures this instead, and frees the
    /// value's memory.
    package var sink: GradientSink { GradientSink(shape: shape, slot: slot) }
}

/// The receiving end of a variable's gradient.
package struct GradientSink: Sendable {
    let shape: [Int]
    fileprivate let slot: GradientSlot?

    package var isWanted: Bool { slot != nil }

    /// gradient ← gradient + `contribution`.
    package func add(_ contribution: Tensor) {
        guard let slot else { return }
        if var sum = slot.take() {
            sum.add(contribution)
            slot.sum = sum
        } else {
            slot.sum = contribution
        }
    }

    /// Lets `body` add to the gradient in place, with β for a product that writes it: 0 when the buffer holds nothing yet, else
    /// 1.
    ///
    /// Spares the temporary and the addition of ``add(_:)`` where a product can add to its output itself.
    package func update(_ body: (_ gradient: inout Tensor, _ beta: Float) -> Void) {
        guard let slot else { return }
        let beta: Float = slot.sum == nil ? 0 : 1
        // The only reference to what is there: a second one would have all of it copied before `body` writes.
        var gradient = slot.take() ?? Tensor(uninitialized: shape)
        body(&gradient, beta)
        slot.sum = gradient
    }

    /// A further operation adds to the gradient later; to be ended by ``endUse()``.
    func beginUse() { slot?.beginUse() }

    func endUse() { slot?.endUse() }
}

/// Where the gradient of one variable gathers. Used by the one thread that computes.
private final class GradientSlot: @unchecked Sendable {
    var sum: Tensor?
    let receiver: ((Tensor) -> Void)?
    /// Recorded operations that use the variable and have not added to its gradient.
    private var uses = 0

    init(receiver: ((Tensor) -> Void)? = nil) { self.receiver = receiver }

    func beginUse() { uses += 1 }

    func endUse() {
        uses -= 1
        if uses == 0, let receiver, let sum = take() { receiver(sum) }
    }

    func take() -> Tensor? {
        let taken = sum
        sum = nil
        return taken
    }
}

/// Records operations as they run, and runs their derivatives in reverse.
///
/// Each operation computes its output at once and leaves a closure that turns the output's gradient into its inputs'
/// gradients. A closure captures only the tensors its derivative needs, so memory is released as the backward pass proceeds.
package final class Tape {
    private struct Step {
        let outputs: [GradientSlot]
        /// Inputs that pass on their gradients.
        let observed: [GradientSlot]
        let backward: ([Tensor?]) -> Void
    }
    private var steps: [Step] = []
    /// Whether operations are recorded; a tape that does not record is for evaluation.
    package let isRecording: Bool
    /// Of the products of linear layers and of the head, forward and backward.
    package let precision: ProductPrecision
    /// Whether what comes now is read by nobody: operations yield zeros instead of products.
    private(set) var hasEnded = false
    /// What makes the products of weights' gradients later; nil has a backward pass make them itself.
    package let weightGradients: WeightGradientQueue?

    package init(
        recording: Bool = true, precision: ProductPrecision = .float32, weightGradients: WeightGradientQueue? = nil
    ) {
        isRecording = recording
        self.precision = precision
        self.weightGradients = weightGradients
    }

    /// Spares the products of the rest of a pass, once all that is wanted of it has been computed.
    ///
    /// - Precondition: the tape does not record.
    package func end() {
        precondition(!isRecording, "a pass that is to be differentiated ends with its loss")
        hasEnded = true
    }

    /// The result of an operation with one output.
    ///
    /// - Parameters:
    ///   - inputs: the variables the result depends on; if none of them requires a gradient, nothing is recorded.
    ///   - backward: gets ∂loss/∂value (which it may overwrite and pass on) and accumulates into the inputs.
    package func record(_ value: Tensor, from inputs: [Variable], _ backward: @escaping (Tensor) -> Void) -> Variable {
        record([value], from: inputs) { gradients in
            if let gradient = gradients[0] { backward(gradient) }
        }[0]
    }

    /// The results of an operation with several outputs; `backward` gets nil for an output that nothing depended on.
    package func record(
        _ values: [Tensor], from inputs: [Variable], _ backward: @escaping ([Tensor?]) -> Void
    ) -> [Variable] {
        guard isRecording, inputs.contains(where: \.requiresGradient) else { return values.map { Variable(constant: $0) } }
        let outputs = values.map { Variable(value: $0, slot: GradientSlot()) }
        let observed = inputs.compactMap(\.slot).filter { $0.receiver != nil }
        for slot in observed { slot.beginUse() }
        steps.append(Step(outputs: outputs.compactMap(\.slot), observed: observed, backward: backward))
        return outputs
    }

    /// Runs the derivatives from `output` back to the leaves, releasing what was recorded.
    ///
    /// - Parameter gradient: ∂loss/∂output; for a scalar loss, 1.
    package func backward(from output: Variable, gradient: Tensor) { backward(from: output.sink, gradient: gradient) }

    /// The same for an output whose value is no longer wanted.
    package func backward(from output: GradientSink, gradient: Tensor) {
        precondition(gradient.count == output.shape.reduce(1, *), "gradient \(gradient.shape) of a value \(output.shape)")
        output.add(gradient)
        while let step = steps.popLast() {
            let gradients = step.outputs.map { $0.take() }
            if gradients.contains(where: { $0 != nil }) { step.backward(gradients) }
            for slot in step.observed { slot.endUse() }
        }
    }
}
