package import Autograd
package import HuggingFace
package import Support

/// Decoders of the OPT family (Zhang et al., arXiv 2205.01068): LayerNorm, learned positions, ReLU.
package struct OPT: ModelFamily {
    package static let modelTypes: Set<String> = ["opt"]

    /// Reads config.json; keys that would change the network and are not known are refused.
    package static func configuration(_ keys: HFConfig) throws(FileError) -> OPTConfiguration {
        try OPTConfiguration(keys)
    }

    private let configuration: OPTConfiguration

    package init(_ configuration: OPTConfiguration, positions: Int) { self.configuration = configuration }

    /// The tokens' rows of the embedding, projected where it is narrower, plus those of their positions.
    package func enter(
        _ tokens: [Int32], _ entry: ParameterGroup<Variable>, context: some AttentionContext, hooks: some HookTransform,
        on tape: Tape
    ) -> Variable {
        var x = tape.embedding(tokens, table: entry.required("model.decoder.embed_tokens.weight"))
        if configuration.projects { x = tape.linear(x, entry.linear("model.decoder.project_in")) }
        let rows = context.positions(rows: tokens.count).map { $0 + Int32(OPTConfiguration.positionOffset) }
        let positions = tape.embedding(rows, table: entry.required("model.decoder.embed_positions.weight"))
        return hooks.transform(tape.add(x, positions), at: .embedding, block: nil, on: tape)
    }

    /// x + attention, or x + the feed-forward network, with the norm before it, or after the sum.
    package func block(
        _ x: Variable, _ index: Int, _ parameters: ParameterGroup<Variable>, context: some AttentionContext,
        hooks: some HookTransform, on tape: Tape
    ) -> Variable {
        func hook(_ x: Variable, _ point: HookPoint) -> Variable { hooks.transform(x, at: point, block: index, on: tape) }
        func residual(_ name: String, _ branch: (Variable) -> Variable) -> Variable {
            let before = configuration.normsBefore
            let sum = tape.add(x, branch(before ? norm(x, name, parameters, on: tape) : x))
            return before ? sum : norm(sum, name, parameters, on: tape)
        }
        switch DecoderBlock(index) {
        case .attention:
            return residual("self_attn_layer_norm") { input in
                let attended = attention(hook(input, .attentionInput), index, parameters, context: context, hook, on: tape)
                return hook(attended, .attentionResidual)
            }
        case .feedForward:
            return residual("final_layer_norm") { input in
                let inner = tape.relu(tape.linear(hook(input, .mlpInput), parameters.linear("fc1")))
                return hook(tape.linear(hook(inner, .downInput), parameters.linear("fc2")), .mlpResidual)
            }
        }
    }

    /// The last norm where there is one, then the projection to the embedding's width where that is narrower.
    package func exit(_ x: Variable, _ exit: ParameterGroup<Variable>, hooks: some HookTransform, on tape: Tape) -> Variable {
        var x = x
        if configuration.finalNorm { x = norm(x, "model.decoder.final_layer_norm", exit, on: tape) }
        if configuration.projects { x = tape.linear(x, exit.linear("model.decoder.project_out")) }
        return hooks.transform(x, at: .headInput, block: nil, on: tape)
    }

    private func norm(_ x: Variable, _ name: String, _ p: ParameterGroup<Variable>, on tape: Tape) -> Variable {
        tape.layerNorm(x, gain: p[name + ".weight"], shift: p[name + ".bias"], epsilon: OPTConfiguration.normEpsilon)
    }

    private func attention(
        _ input: Variable, _ index: Int, _ p: ParameterGroup<Variable>, context: some AttentionContext,
        _ hook: (Variable, HookPoint) -> Variable, on tape: Tape
    ) -> Variable {
        let projected = tape.linears(
            input, [p.linear("self_attn.q_proj"), p.linear("self_attn.k_proj"), p.linear("self_attn.v_proj")])
        let (q, k, v) = (hook(projected[0], .query), hook(projected[1], .key), hook(projected[2], .value))
        let mixed = context.attend(q, k, v, block: index, configuration.attentionHeads, on: tape)
        return tape.linear(hook(mixed, .outputInput), p.linear("self_attn.out_proj"))
    }
}
