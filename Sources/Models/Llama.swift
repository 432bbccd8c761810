package import Autograd
internal import TensorCore

/// What a stage of a network starts from.
package enum StageInput {
    /// Sequences of tokens one after the other: into the first stage.
    case tokens([Int32])
    /// The output of the stage before, [rows, h].
    case hidden(Variable)
}

/// A decoder of the Llama family (Touvron et al., arXiv 2302.13971): a pure function of parameters and tokens.
///
/// Everything a job changes comes in from outside: parameters (rotated, quantised, ternary, trainable) and what happens at the
/// sites between them (online rotations, activation quantisers).
package struct Llama: Sendable {
    package let configuration: LlamaConfiguration
    private let rotary: RotaryTable

    /// - Parameter positions: longest sequence that will be run.
    package init(_ configuration: LlamaConfiguration, positions: Int) {
        self.configuration = configuration
        rotary = configuration.rotary.table(headDimension: configuration.headDimension, positions: positions)
    }

    /// The output of the stage that `parameters` are, [rows, h]: of the last stage (and so of a whole model) the last norm's
    /// output, whose product with the head are the logits; of any other what the next stage starts from.
    ///
    /// - Parameters:
    ///   - input: rows of sequences one after the other, as `context` cuts them; tokens into the first stage.
    ///   - recompute: keep only each layer's input (tokens, of the first one) for the backward pass and run the layer again there.
    package func hiddenStates(
        _ input: StageInput, _ parameters: LlamaParameters<Variable>, context: some AttentionContext,
        sites: some SiteTransform = Untouched(), recompute: Bool = false, on tape: Tape
    ) -> Variable {
        var before: Variable?
        for (index, layer) in zip(parameters.layerRange, parameters.layers) {
            let body = { [before] (tape: Tape) in
                // The first layer is recomputed from the tokens: its input need not be kept.
                let x = before ?? enter(input, parameters, sites: sites, on: tape)
                return decoderLayer(x, index, layer, context: context, sites: sites, on: tape)
            }
            before = recompute ? tape.recomputing(body) : body(tape)
        }
        guard let x = before else { preconditionFailure("a stage without layers") }
        guard let norm = parameters.norm else { return x }
        let normalised = tape.rmsNorm(x, gain: norm, epsilon: configuration.normEpsilon)
        return sites.transform(normalised, at: .headInput, on: tape)
    }

    private func enter(
        _ input: StageInput, _ parameters: LlamaParameters<Variable>, sites: some SiteTransform, on tape: Tape
    ) -> Variable {
        switch input {
        case .hidden(let x):
            precondition(!parameters.isFirst, "the first stage starts from tokens")
            return x
        case .tokens(let tokens):
            guard parameters.isFirst, let table = parameters.embedding else {
                preconditionFailure("tokens do not enter at layers \(parameters.layerRange)")
            }
            return sites.transform(tape.embedding(tokens, table: table), at: .embedding, on: tape)
        }
    }

    private func decoderLayer(
        _ x: Variable, _ index: Int, _ layer: LlamaLayer<Variable>, context: some AttentionContext,
        sites: some SiteTransform, on tape: Tape
    ) -> Variable {
        let attended = attention(x, index, layer, context: context, sites: sites, on: tape)
        let middle = tape.add(x, sites.transform(attended, at: .attentionResidual(layer: index), on: tape))
        let fed = feedForward(middle, index, layer, sites: sites, on: tape)
        return tape.add(middle, sites.transform(fed, at: .mlpResidual(layer: index), on: tape))
    }

    private func attention(
        _ x: Variable, _ index: Int, _ layer: LlamaLayer<Variable>, context: some AttentionContext,
        sites: some SiteTransform, on tape: Tape
    ) -> Variable {
        let epsilon = configuration.normEpsilon
        let d = configuration.headDimension
        let normalised = tape.rmsNorm(x, gain: layer.inputNorm, epsilon: epsilon)
        let input = sites.transform(normalised, at: .attentionInput(layer: index), on: tape)
        let projected = tape.linears(input, [layer.query, layer.key, layer.value])
        var (q, k) = (projected[0], projected[1])
        if let gain = layer.queryNorm { q = tape.rmsNorm(q, gain: gain, epsilon: epsilon, width: d) }
        if let gain = layer.keyNorm { k = tape.rmsNorm(k, gain: gain, epsilon: epsilon, width: d) }
        q = sites.transform(context.rotate(q, rotary, on: tape), at: .query(layer: index), on: tape)
        k = sites.transform(context.rotate(k, rotary, on: tape), at: .key(layer: index), on: tape)
        let v = sites.transform(projected[2], at: .value(layer: index), on: tape)
        let mixed = context.attend(q, k, v, layer: index, configuration, on: tape)
        return tape.linear(sites.transform(mixed, at: .outputInput(layer: index), on: tape), layer.output)
    }

    private func feedForward(
        _ x: Variable, _ index: Int, _ layer: LlamaLayer<Variable>, sites: some SiteTransform, on tape: Tape
    ) -> Variable {
        let normalised = tape.rmsNorm(x, gain: layer.postAttentionNorm, epsilon: configuration.normEpsilon)
        let input = sites.transform(normalised, at: .mlpInput(layer: index), on: tape)
        let projected = tape.linears(input, [layer.gate, layer.up])
        let gated = tape.swiGLU(gate: projected[0], up: projected[1])
        return tape.linear(sites.transform(gated, at: .downInput(layer: index), on: tape), layer.down)
    }
}
