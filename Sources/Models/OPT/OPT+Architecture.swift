extension OPT {
    /// Blocks of attention and ReLU with LayerNorms before or after them, learned positions, and projections at both ends where
    /// embeddings are narrower than blocks.
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
        let (parameters, norms) = (blockSpecs(c), blockNorms(c))
        return Architecture(
            type: "opt", summary: c.summary, hiddenSize: h, vocabularySize: c.vocabularySize,
            maximumPositions: c.maximumPositions,
            entry: entry,
            blocks: (0..<c.layers).map { layer in
                Architecture.Block(
                    prefix: decoder + "layers.\(layer).", parameters: parameters, norms: norms, heads: c.attentionHeads,
                    innerProducer: "fc1.weight", scalesKeys: c.headDimension % 2 == 0)
            },
            exit: exit, norms: c.finalNorm ? [normRule(decoder + "final_layer_norm", .headInput, c)] : [],
            tiesHead: c.tiedEmbeddings, rotatability: rotatability(c))
    }

    private static func blockSpecs(_ c: OPTConfiguration) -> [ParameterSpec] {
        let (h, f) = (c.hiddenSize, c.feedForwardSize)
        func linear(_ name: String, _ out: Int, _ into: Int, reads: HookPoint, writes: HookPoint? = nil) -> [ParameterSpec] {
            linearSpecs(name, out, into, bias: c.bias, reads: reads, writes: writes)
        }
        return linear("self_attn.k_proj", h, h, reads: .attentionInput, writes: .key)
            + linear("self_attn.v_proj", h, h, reads: .attentionInput, writes: .value)
            + linear("self_attn.q_proj", h, h, reads: .attentionInput, writes: .query)
            + linear("self_attn.out_proj", h, h, reads: .outputInput, writes: .attentionResidual)
            + normSpecs("self_attn_layer_norm", c)
            + linear("fc1", f, h, reads: .mlpInput)
            + linear("fc2", h, f, reads: .downInput, writes: .mlpResidual)
            + normSpecs("final_layer_norm", c)
    }

    private static func normSpecs(_ name: String, _ c: OPTConfiguration) -> [ParameterSpec] {
        guard c.affineNorms else { return [] }
        return [ParameterSpec(name + ".weight", [c.hiddenSize], .gain), ParameterSpec(name + ".bias", [c.hiddenSize], .shift)]
    }

    private static func blockNorms(_ c: OPTConfiguration) -> [Architecture.NormRule] {
        [("self_attn_layer_norm", HookPoint.attentionInput), ("final_layer_norm", .mlpInput)].map {
            normRule($0, $1, c, isStream: !c.normsBefore)
        }
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
