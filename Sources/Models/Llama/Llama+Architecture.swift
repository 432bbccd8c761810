extension Llama {
    /// Attention and a gated feed-forward network in turn, each a block with an RMSNorm before it; rotatable.
    package static func architecture(_ c: LlamaConfiguration) -> Architecture {
        let (h, f, d) = (c.hiddenSize, c.intermediateSize, c.headDimension)
        var attention = [ParameterSpec("input_layernorm.weight", [h], .gain)]
        attention += linearSpecs("self_attn.q_proj", c.heads * d, h, bias: c.inputBias, reads: .attentionInput, writes: .query)
        attention += linearSpecs(
            "self_attn.k_proj", c.keyValueHeads * d, h, bias: c.inputBias, reads: .attentionInput, writes: .key)
        attention += linearSpecs(
            "self_attn.v_proj", c.keyValueHeads * d, h, bias: c.inputBias, reads: .attentionInput, writes: .value)
        attention += linearSpecs(
            "self_attn.o_proj", h, c.heads * d, bias: c.outputBias, reads: .outputInput, writes: .attentionResidual)
        if c.headNorms {
            attention += ["self_attn.q_norm.weight", "self_attn.k_norm.weight"].map { ParameterSpec($0, [d], .gain) }
        }
        var feedForward = [ParameterSpec("post_attention_layernorm.weight", [h], .gain)]
        feedForward += linearSpecs("mlp.gate_proj", f, h, bias: c.feedForwardBias, reads: .mlpInput)
        feedForward += linearSpecs("mlp.up_proj", f, h, bias: c.feedForwardBias, reads: .mlpInput)
        feedForward += linearSpecs("mlp.down_proj", h, f, bias: c.feedForwardBias, reads: .downInput, writes: .mlpResidual)
        return Architecture(
            type: c.family.rawValue, summary: c.summary, hiddenSize: h, vocabularySize: c.vocabularySize,
            maximumPositions: c.maximumPositions,
            entry: [ParameterSpec("model.embed_tokens.weight", [c.vocabularySize, h], .embedding)],
            blocks: (0..<c.layers).flatMap { layer in
                let prefix = "model.layers.\(layer)."
                return [
                    Architecture.Block(
                        layer: layer, prefix: prefix, parameters: attention,
                        norms: [Architecture.NormRule(gain: "input_layernorm.weight", output: .attentionInput)],
                        heads: c.attentionHeads(layer), scalesKeys: !c.headNorms && d % 2 == 0),
                    Architecture.Block(
                        layer: layer, prefix: prefix, parameters: feedForward,
                        norms: [Architecture.NormRule(gain: "post_attention_layernorm.weight", output: .mlpInput)],
                        innerProducer: "mlp.up_proj.weight"),
                ]
            },
            exit: [
                ParameterSpec("model.norm.weight", [h], .gain), ParameterSpec("lm_head.weight", [c.vocabularySize, h], .head),
            ],
            norms: [Architecture.NormRule(gain: "model.norm.weight", output: .headInput)], tiesHead: c.tiedEmbeddings,
            paddingRow: c.paddingRow)
    }
}

extension LlamaConfiguration {
    /// The model of this shape.
    package var description: ModelDescription { ModelDescription(Llama.self, self) }
    package var architecture: Architecture { description.architecture }

    /// Attention's heads in a layer, for the graph and for what describes it.
    func attentionHeads(_ layer: Int) -> Architecture.Heads {
        Architecture.Heads(
            query: heads, keyValue: keyValueHeads, dimension: headDimension, window: windows.isEmpty ? nil : windows[layer])
    }
}
