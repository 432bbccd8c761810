package import Autograd
internal import LinearAlgebra
package import TensorCore

/// What a stage of a network starts from.
package enum StageInput {
    /// Sequences of tokens one after the other: into the first stage.
    case tokens([Int32])
    /// The output of the stage before, [rows, h].
    case hidden(Variable)
}

/// A model's graph: a pure function of parameters and tokens.
///
/// Everything a job changes comes in from outside: parameters (rotated, quantized, ternary, trainable) and what happens at the
/// hook points between them (online rotations, activation quantizers).
package struct Model: Sendable {
    package let architecture: Architecture
    private let family: any ModelFamily

    package init(_ family: some ModelFamily, _ architecture: Architecture) {
        self.family = family
        self.architecture = architecture
    }

    /// The output of the stage that `parameters` are, [rows, h]: of the last stage (and so of a whole model) what the head
    /// makes logits of, of any other what the next stage starts from.
    ///
    /// - Parameters:
    ///   - input: rows of sequences one after the other, as `context` cuts them; tokens into the first stage.
    ///   - recompute: keep only each layer's input (tokens, of the first one) for the backward pass and run the layer again
    ///     there.
    package func hiddenStates(
        _ input: StageInput, _ parameters: Parameters<Variable>, context: some AttentionContext,
        hooks: some HookTransform = IdentityHooks(), recompute: Bool = false, on tape: Tape
    ) -> Variable {
        run(family, input, parameters, context: context, hooks: hooks, recompute: recompute, on: tape)
    }

    private func run(
        _ family: some ModelFamily, _ input: StageInput, _ parameters: Parameters<Variable>, context: some AttentionContext,
        hooks: some HookTransform, recompute: Bool, on tape: Tape
    ) -> Variable {
        var before: Variable?
        for layer in architecture.layers(in: parameters.blockRange) {
            let body = { [before] (tape: Tape) in
                // The first layer is recomputed from the tokens: its input need not be kept.
                let x = before ?? enter(family, input, parameters, context: context, hooks: hooks, on: tape)
                return layer.reduce(x) { x, index in
                    let block = parameters.blocks[index - parameters.firstBlock]
                    return family.block(x, index, block, context: context, hooks: hooks, on: tape)
                }
            }
            before = recompute ? tape.recomputing(body) : body(tape)
        }
        guard let x = before else { preconditionFailure("a stage without blocks") }
        return parameters.isLast ? family.exit(x, parameters.exit, hooks: hooks, on: tape) : x
    }

    private func enter(
        _ family: some ModelFamily, _ input: StageInput, _ parameters: Parameters<Variable>, context: some AttentionContext,
        hooks: some HookTransform, on tape: Tape
    ) -> Variable {
        switch input {
        case .hidden(let x):
            precondition(!parameters.isFirst, "the first stage starts from tokens")
            return x
        case .tokens(let tokens):
            precondition(parameters.isFirst, "tokens do not enter at blocks \(parameters.blockRange)")
            return family.enter(tokens, parameters.entry, context: context, hooks: hooks, on: tape)
        }
    }
}

extension Model {
    /// Logits [tokens.count, vocabulary] of one sequence, from a whole model.
    package func logits(_ tokens: [Int32], _ parameters: Parameters<some TensorValue>) -> Tensor {
        let x = constantNetwork(parameters).outputs([tokens], from: nil)
        return matmul(x, .asStored, parameters.logitWeight.tensor, .transposed)
    }

    /// The network of these parameters, with nothing at its hook points.
    package func constantNetwork(_ parameters: Parameters<some TensorValue>) -> Network<IdentityHooks> {
        Network(model: self, parameters: parameters.map { _, tensor in Variable(constant: tensor) }, hooks: IdentityHooks())
    }
}

/// A network ready to run, or the stage of one that a rank holds: its graph, its parameters, and what happens at its hook
/// points.
package struct Network<Hooks: HookTransform> {
    package var model: Model
    package var parameters: Parameters<Variable>
    package var hooks: Hooks

    package init(model: Model, parameters: Parameters<Variable>, hooks: Hooks) {
        self.model = model
        self.parameters = parameters
        self.hooks = hooks
    }

    /// The stage's output for whole sequences of equal length: see ``Model``.
    ///
    /// - Parameter input: what the stage before has made of these sequences; nil on the first stage.
    package func hiddenStates(
        _ sequences: [[Int32]], from input: Variable? = nil, recompute: Bool = false, on tape: Tape
    ) -> Variable {
        model.hiddenStates(
            input.map(StageInput.hidden) ?? .tokens(sequences.flatMap(\.self)), parameters,
            context: CausalBatch(sequences: sequences.count, length: sequences.first?.count ?? 0),
            hooks: hooks, recompute: recompute, on: tape)
    }

    /// The same, of a network that no gradient is wanted of.
    package func outputs(_ sequences: [[Int32]], from input: Tensor?) -> Tensor {
        hiddenStates(sequences, from: input.map { Variable(constant: $0) }, on: Tape(recording: false)).value
    }

    /// What a hook point of a block has for whole sequences of equal length, after the hooks: [rows, width]. No product beyond
    /// it is computed.
    ///
    /// - Parameter input: as for ``outputs(_:from:)``.
    package func value(at point: HookPoint, block: Int, _ sequences: [[Int32]], from input: Tensor?) -> Tensor {
        let ending = EndingHooks(base: hooks, point: point, block: block)
        _ = Network<EndingHooks<Hooks>>(model: model, parameters: parameters, hooks: ending).outputs(sequences, from: input)
        guard let value = ending.value else { preconditionFailure("block \(block) has no \(point.rawValue)") }
        return value
    }
}

/// The hooks of a network, with a pass ended where a value is found.
private final class EndingHooks<Base: HookTransform>: HookTransform {
    private let base: Base
    private let point: HookPoint
    private let block: Int
    private(set) var value: Tensor?

    init(base: Base, point: HookPoint, block: Int) { (self.base, self.point, self.block) = (base, point, block) }

    func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
        if value != nil { return x }
        let result = base.transform(x, at: point, block: block, on: tape)
        if block == self.block, point == self.point {
            value = result.value
            tape.end()
        }
        return result
    }
}
