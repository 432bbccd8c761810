extension Llama {
    /// Blocks of attention and a gated feed-forward network, each behind an RMSNorm; rotatable.
    package static func architecture(_ c: LlamaConfiguration) -> Architecture {
        let (h, f, d) = (c.hiddenSize, c.intermediateSize, c.headDimension)
        var block = [ParameterSpec("input_layernorm.weight", [h], .gain)]
        block += linearSpecs("self_attn.q_proj", c.heads * d, h, bias: c.inputBias, reads: .attentionInput, writes: .query)
        block += linearSpecs(
            "self_attn.k_proj", c.keyValueHeads * d, h, bias: c.inputBias, reads: .attentionInput, writes: .key)
        block += linearSpecs(
            "self_attn.v_proj", c.keyValueHeads * d, h, bias: c.inputBias, reads: .attentionInput, writes: .value)
        block += linearSpecs(
            "self_attn.o_proj", h, c.heads * d, bias: c.outputBias, reads: .outputInput, writes: .attentionResidual)
        if c.headNorms {
            block += ["self_attn.q_norm.weight", "self_attn.k_norm.weight"].map { ParameterSpec($0, [d], .gain) }
        }
        block.append(ParameterSpec("post_attention_layernorm.weight", [h], .gain))
        block += linearSpecs("mlp.gate_proj", f, h, bias: c.feedForwardBias, reads: .mlpInput)
        block += linearSpecs("mlp.up_proj", f, h, bias: c.feedForwardBias, reads: .mlpInput)
        block += linearSpecs("mlp.down_proj", h, f, bias: c.feedForwardBias, reads: .downInput, writes: .mlpResidual)
        let norms = [
            Architecture.NormRule(gain: "input_layernorm.weight", output: .attentionInput),
            Architecture.NormRule(gain: "post_attention_layernorm.weight", output: .mlpInput),
        ]
        return Architecture(
            type: c.family.rawValue, summary: c.summary, hiddenSize: h, vocabularySize: c.vocabularySize,
            maximumPositions: c.maximumPositions,
            entry: [ParameterSpec("model.embed_tokens.weight", [c.vocabularySize, h], .embedding)],
            blocks: (0..<c.layers).map { layer in
                Architecture.Block(
                    prefix: "model.layers.\(layer).", parameters: block, norms: norms,
                    heads: c.attentionHeads(layer), innerProducer: "mlp.up_proj.weight",
                    scalesKeys: !c.headNorms && d % 2 == 0)
            },
            exit: [
                ParameterSpec("model.norm.weight", [h], .gain), ParameterSpec("lm_head.weight", [c.vocabularySize, h], .head),
            ],
            norms: [Architecture.NormRule(gain: "model.norm.weight", output: .headInput)], tiesHead: c.tiedEmbeddings)
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
