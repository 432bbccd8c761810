package import Autograd

/// The values of one decoder layer. Weights are [out, in].
package struct LlamaLayer<Value> {
    package var inputNorm: Value
    package var query: LinearLayer<Value>
    package var key: LinearLayer<Value>
    package var value: LinearLayer<Value>
    package var output: LinearLayer<Value>
    /// RMSNorm gains over each head of q and k (Qwen3).
    package var queryNorm: Value?
    package var keyNorm: Value?
    package var postAttentionNorm: Value
    package var gate: LinearLayer<Value>
    package var up: LinearLayer<Value>
    package var down: LinearLayer<Value>

    package init(
        inputNorm: Value, query: LinearLayer<Value>, key: LinearLayer<Value>, value: LinearLayer<Value>,
        output: LinearLayer<Value>, queryNorm: Value? = nil, keyNorm: Value? = nil, postAttentionNorm: Value,
        gate: LinearLayer<Value>, up: LinearLayer<Value>, down: LinearLayer<Value>
    ) {
        self.inputNorm = inputNorm
        self.query = query
        self.key = key
        self.value = value
        self.output = output
        self.queryNorm = queryNorm
        self.keyNorm = keyNorm
        self.postAttentionNorm = postAttentionNorm
        self.gate = gate
        self.up = up
        self.down = down
    }
}

/// The values of a stage of a Llama: tensors at rest, variables on a tape, or anything else there is one of per parameter.
///
/// A stage is a stretch of consecutive layers; the first stage also has the embedding, the last one norm and head. A whole
/// model is the stage of all layers, and whatever can be done to a model (rotate, quantise, decompose) can be done to a stage.
package struct LlamaParameters<Value> {
    /// The place in the model of the first of `layers`.
    package var firstLayer: Int
    /// [vocabulary, h]; of the first stage, and of the last one where it serves as head too.
    package var embedding: Value?
    package var layers: [LlamaLayer<Value>]
    /// [h]; of the last stage.
    package var norm: Value?
    /// [vocabulary, h]; of the last stage, unless the embedding serves as head too.
    package var head: Value?

    /// Whether tokens enter here.
    package var isFirst: Bool { firstLayer == 0 }
    /// Whether logits come from here.
    package var isLast: Bool { norm != nil }
    /// The places in the model of the layers held.
    package var layerRange: Range<Int> { firstLayer..<firstLayer + layers.count }

    /// The matrix that makes logits. - Precondition: the last stage.
    package var logitWeight: Value {
        guard isLast, let weight = head ?? embedding else { preconditionFailure("layers \(layerRange) make no logits") }
        return weight
    }

    package init(
        firstLayer: Int = 0, embedding: Value?, layers: [LlamaLayer<Value>], norm: Value?, head: Value? = nil
    ) {
        self.firstLayer = firstLayer
        self.embedding = embedding
        self.layers = layers
        self.norm = norm
        self.head = head
    }
}

/// Names in a checkpoint that are asked for one by one.
package enum LlamaNames {
    package static let embedding = "model.embed_tokens.weight"
}

extension LlamaLayer: Sendable where Value: Sendable {}
extension LlamaParameters: Sendable where Value: Sendable {}

extension LinearLayer {
    /// The same layer with each value replaced; `transform` gets the checkpoint's name of it.
    package func map<New, Failure>(
        _ name: String, _ transform: (String, Value) throws(Failure) -> New
    ) throws(Failure) -> LinearLayer<New> {
        let weight = try transform(name + ".weight", weight)
        guard let bias else { return LinearLayer<New>(weight: weight) }
        return LinearLayer<New>(weight: weight, bias: try transform(name + ".bias", bias))
    }
}

extension LlamaLayer {
    package func map<New, Failure>(
        _ prefix: String, _ transform: (String, Value) throws(Failure) -> New
    ) throws(Failure) -> LlamaLayer<New> {
        func optional(_ name: String, _ value: Value?) throws(Failure) -> New? {
            guard let value else { return nil }
            return try transform(prefix + name, value)
        }
        return LlamaLayer<New>(
            inputNorm: try transform(prefix + "input_layernorm.weight", inputNorm),
            query: try query.map(prefix + "self_attn.q_proj", transform),
            key: try key.map(prefix + "self_attn.k_proj", transform),
            value: try value.map(prefix + "self_attn.v_proj", transform),
            output: try output.map(prefix + "self_attn.o_proj", transform),
            queryNorm: try optional("self_attn.q_norm.weight", queryNorm),
            keyNorm: try optional("self_attn.k_norm.weight", keyNorm),
            postAttentionNorm: try transform(prefix + "post_attention_layernorm.weight", postAttentionNorm),
            gate: try gate.map(prefix + "mlp.gate_proj", transform),
            up: try up.map(prefix + "mlp.up_proj", transform),
            down: try down.map(prefix + "mlp.down_proj", transform))
    }
}

extension LlamaParameters {
    /// The same parameters with each value replaced, in the checkpoint's order; `transform` gets the checkpoint's name of each.
    package func map<New, Failure>(
        _ transform: (String, Value) throws(Failure) -> New
    ) throws(Failure) -> LlamaParameters<New> {
        func optional(_ name: String, _ value: Value?) throws(Failure) -> New? {
            guard let value else { return nil }
            return try transform(name, value)
        }
        let embedding = try optional(LlamaNames.embedding, embedding)
        var layers: [LlamaLayer<New>] = []
        for (index, layer) in zip(layerRange, self.layers) { layers.append(try layer.map("model.layers.\(index).", transform)) }
        return LlamaParameters<New>(
            firstLayer: firstLayer, embedding: embedding, layers: layers, norm: try optional("model.norm.weight", norm),
            head: try optional("lm_head.weight", head))
    }

    /// Every value with its checkpoint name, in the checkpoint's order.
    package var named: [(name: String, value: Value)] {
        var result: [(String, Value)] = []
        _ = map { name, value in result.append((name, value)) }
        return result
    }
}

extension LlamaParameters {
    /// The weights of the layers' linears replaced by one rule, all other values (embedding, head, norms, biases) by another.
    package func mapLinears<New>(weight: (Value) -> New, other: (Value) -> New) -> LlamaParameters<New> {
        map { name, value in name.hasSuffix("_proj.weight") ? weight(value) : other(value) }
    }
}
