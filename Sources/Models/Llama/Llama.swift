package import Autograd
package import HuggingFace
package import Support

/// Decoders of the Llama family (Touvron et al., arXiv 2302.13971): Llama, Mistral, Qwen2, Qwen3.
package struct Llama: ModelFamily {
    package static let modelTypes = Set(LlamaConfiguration.Family.allCases.map(\.rawValue))

    /// Reads config.json; keys that would change the network and are not known are refused.
    package static func configuration(_ keys: HFConfig) throws(FileError) -> LlamaConfiguration {
        try LlamaConfiguration(keys)
    }

    private let configuration: LlamaConfiguration
    private let rotary: RotaryTable

    package init(_ configuration: LlamaConfiguration, positions: Int) {
        self.configuration = configuration
        rotary = configuration.rotary.table(headDimension: configuration.headDimension, positions: positions)
    }

    /// The tokens' rows of the embedding.
    package func enter(
        _ tokens: [Int32], _ entry: ParameterGroup<Variable>, context: some AttentionContext, hooks: some HookTransform,
        on tape: Tape
    ) -> Variable {
        let x = tape.embedding(tokens, table: entry.required("model.embed_tokens.weight"))
        return hooks.transform(x, at: .embedding, block: nil, on: tape)
    }

    /// x + attention(norm(x)), or the same with the feed-forward network.
    package func block(
        _ x: Variable, _ index: Int, _ parameters: ParameterGroup<Variable>, context: some AttentionContext,
        hooks: some HookTransform, on tape: Tape
    ) -> Variable {
        switch DecoderBlock(index) {
        case .attention:
            let attended = attention(x, index, parameters, context: context, hooks: hooks, on: tape)
            return tape.add(x, hooks.transform(attended, at: .attentionResidual, block: index, on: tape))
        case .feedForward:
            let fed = feedForward(x, index, parameters, hooks: hooks, on: tape)
            return tape.add(x, hooks.transform(fed, at: .mlpResidual, block: index, on: tape))
        }
    }

    /// The last norm.
    package func exit(_ x: Variable, _ exit: ParameterGroup<Variable>, hooks: some HookTransform, on tape: Tape) -> Variable {
        let normalized = tape.rmsNorm(x, gain: exit.required("model.norm.weight"), epsilon: configuration.normEpsilon)
        return hooks.transform(normalized, at: .headInput, block: nil, on: tape)
    }

    private func attention(
        _ x: Variable, _ index: Int, _ p: ParameterGroup<Variable>, context: some AttentionContext,
        hooks: some HookTransform, on tape: Tape
    ) -> Variable {
        let epsilon = configuration.normEpsilon
        let d = configuration.headDimension
        func hook(_ x: Variable, _ point: HookPoint) -> Variable { hooks.transform(x, at: point, block: index, on: tape) }
        let input = hook(tape.rmsNorm(x, gain: p.required("input_layernorm.weight"), epsilon: epsilon), .attentionInput)
        let projected = tape.linears(
            input, [p.linear("self_attn.q_proj"), p.linear("self_attn.k_proj"), p.linear("self_attn.v_proj")])
        var (q, k) = (projected[0], projected[1])
        // Norms of each head (Qwen3).
        if let gain = p["self_attn.q_norm.weight"] { q = tape.rmsNorm(q, gain: gain, epsilon: epsilon, width: d) }
        if let gain = p["self_attn.k_norm.weight"] { k = tape.rmsNorm(k, gain: gain, epsilon: epsilon, width: d) }
        q = hook(context.rotate(q, rotary, on: tape), .query)
        k = hook(context.rotate(k, rotary, on: tape), .key)
        let v = hook(projected[2], .value)
        let mixed = context.attend(
            q, k, v, block: index, configuration.attentionHeads(DecoderBlock.layer(of: index)), on: tape)
        return tape.linear(hook(mixed, .outputInput), p.linear("self_attn.o_proj"))
    }

    private func feedForward(
        _ x: Variable, _ index: Int, _ p: ParameterGroup<Variable>, hooks: some HookTransform, on tape: Tape
    ) -> Variable {
        let normalized = tape.rmsNorm(
            x, gain: p.required("post_attention_layernorm.weight"), epsilon: configuration.normEpsilon)
        let input = hooks.transform(normalized, at: .mlpInput, block: index, on: tape)
        let projected = tape.linears(input, [p.linear("mlp.gate_proj"), p.linear("mlp.up_proj")])
        let gated = tape.swiGLU(gate: projected[0], up: projected[1])
        return tape.linear(hooks.transform(gated, at: .downInput, block: index, on: tape), p.linear("mlp.down_proj"))
    }
}
