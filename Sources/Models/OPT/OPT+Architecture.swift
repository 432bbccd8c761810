extension OPT {
    /// Attention and ReLU in turn, each a block with a LayerNorm before or after it; learned positions, and projections at both
    /// ends where embeddings are narrower than blocks.
    package static func architecture(_ c: OPTConfiguration) -> Architecture {
        let (h, e, decoder) = (c.hiddenSize, c.embeddingSize, "model.decoder.")
        var entry = [
            ParameterSpec(decoder + "embed_tokens.weight", [c.vocabularySize, e], .embedding),
            ParameterSpec(
                decoder + "embed_positions.weight", [c.maximumPositions + OPTConfiguration.positionOffset, h], .positions),
        ]
        var exit: [ParameterSpec] = c.finalNorm ? normSpecs(decoder + "final_layer_norm", c) : []
        if c.projects {
            entry.append(ParameterSpec(decoder + "project_in.weight", [h, e], .projection))
            exit.append(ParameterSpec(decoder + "project_out.weight", [e, h], .projection))
        }
        exit.append(ParameterSpec("lm_head.weight", [c.vocabularySize, e], .head))
        let (attention, feedForward) = (attentionSpecs(c), feedForwardSpecs(c))
        return Architecture(
            type: "opt", summary: c.summary, hiddenSize: h, vocabularySize: c.vocabularySize,
            maximumPositions: c.maximumPositions,
            entry: entry,
            blocks: (0..<c.layers).flatMap { layer in
                let prefix = decoder + "layers.\(layer)."
                return [
                    Architecture.Block(
                        layer: layer, prefix: prefix, parameters: attention,
                        norms: [normRule("self_attn_layer_norm", .attentionInput, c, isStream: !c.normsBefore)],
                        heads: c.attentionHeads, scalesKeys: c.headDimension % 2 == 0),
                    Architecture.Block(
                        layer: layer, prefix: prefix, parameters: feedForward,
                        norms: [normRule("final_layer_norm", .mlpInput, c, isStream: !c.normsBefore)],
                        innerProducer: "fc1.weight"),
                ]
            },
            exit: exit, norms: c.finalNorm ? [normRule(decoder + "final_layer_norm", .headInput, c)] : [],
            tiesHead: c.tiedEmbeddings, rotatability: rotatability(c), paddingRow: c.paddingRow,
            joinsSequences: true)
    }

    private static func attentionSpecs(_ c: OPTConfiguration) -> [ParameterSpec] {
        func linear(_ name: String, reads: HookPoint, writes: HookPoint) -> [ParameterSpec] {
            linearSpecs("self_attn." + name, c.hiddenSize, c.hiddenSize, bias: c.bias, reads: reads, writes: writes)
        }
        return linear("k_proj", reads: .attentionInput, writes: .key)
            + linear("v_proj", reads: .attentionInput, writes: .value)
            + linear("q_proj", reads: .attentionInput, writes: .query)
            + linear("out_proj", reads: .outputInput, writes: .attentionResidual)
            + normSpecs("self_attn_layer_norm", c)
    }

    private static func feedForwardSpecs(_ c: OPTConfiguration) -> [ParameterSpec] {
        let (h, f) = (c.hiddenSize, c.feedForwardSize)
        return linearSpecs("fc1", f, h, bias: c.bias, reads: .mlpInput)
            + linearSpecs("fc2", h, f, bias: c.bias, reads: .downInput, writes: .mlpResidual)
            + normSpecs("final_layer_norm", c)
    }

    private static func normSpecs(_ name: String, _ c: OPTConfiguration) -> [ParameterSpec] {
        guard c.affineNorms else { return [] }
        return [ParameterSpec(name + ".weight", [c.hiddenSize], .gain), ParameterSpec(name + ".bias", [c.hiddenSize], .shift)]
    }

    private static func normRule(
        _ name: String, _ output: HookPoint, _ c: OPTConfiguration, isStream: Bool = false
    ) -> Architecture.NormRule {
        Architecture.NormRule(
            .layer, gain: c.affineNorms ? name + ".weight" : nil, shift: c.affineNorms ? name + ".bias" : nil, output: output,
            isStream: isStream)
    }

    private static func rotatability(_ c: OPTConfiguration) -> Architecture.Rotatability {
        if !c.normsBefore {
            return .fixed(
                "its norms stand on the residual stream (do_layer_norm_before is false), where their gains fold into no layer")
        }
        if !c.finalNorm { return .fixed("it has no norm before the head (_remove_final_layer_norm)") }
        if c.projects { return .fixed("matrices stand between its embedding and its stream (word_embed_proj_dim)") }
        if c.affineNorms && !c.bias {
            return .fixed("its linear layers have no biases to take what its norms add (enable_bias is false)")
        }
        return .rotatable
    }
}

extension OPTConfiguration {
    /// The model of this shape.
    package var description: ModelDescription { ModelDescription(OPT.self, self) }
    package var architecture: Architecture { description.architecture }

    /// Attention's heads, for the graph and for what describes it.
    var attentionHeads: Architecture.Heads { Architecture.Heads(query: heads, keyValue: heads, dimension: headDimension) }
}
