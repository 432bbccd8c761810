package import HuggingFace
package import Support

/// The shape of a model of the OPT family: what its `config.json` says.
package struct OPTConfiguration: Sendable, Equatable {
    package var vocabularySize: Int
    /// Width of the residual stream.
    package var hiddenSize: Int
    /// Width of the embedding; where it is not the stream's, matrices lead from one to the other.
    package var embeddingSize: Int
    package var feedForwardSize: Int
    package var layers: Int
    package var heads: Int
    package var maximumPositions: Int
    /// Norms before attention and feed-forward network; else after them, on the stream itself.
    package var normsBefore: Bool
    /// A norm before the head.
    package var finalNorm: Bool
    /// Biases of all linear layers.
    package var bias: Bool
    /// Gain and shift of all norms.
    package var affineNorms: Bool
    package var tiedEmbeddings: Bool
    /// See ``Architecture/paddingRow``.
    package var paddingRow: Int?

    /// What the norms add to the variance; no file sets it.
    static let normEpsilon: Float = 1e-5
    /// Rows of the table of positions before that of position 0.
    static let positionOffset = 2
    /// Beyond any model there is; keeps a broken file from claiming the memory for a billion layers.
    private static let mostLayers = 500

    package var headDimension: Int { hiddenSize / heads }
    /// Whether matrices stand between the embedding and the stream.
    package var projects: Bool { embeddingSize != hiddenSize }

    /// The shape in a line.
    package var summary: String {
        "opt, h \(hiddenSize), \(layers) layers, \(heads) heads of \(headDimension), f \(feedForwardSize), vocabulary "
            + "\(vocabularySize)"
            + (projects ? ", embedding of \(embeddingSize)" : "") + (normsBefore ? "" : ", norms after each part")
    }

    package init(
        vocabularySize: Int, hiddenSize: Int, embeddingSize: Int? = nil, feedForwardSize: Int, layers: Int, heads: Int,
        maximumPositions: Int, normsBefore: Bool = true, finalNorm: Bool = true, bias: Bool = true, affineNorms: Bool = true,
        tiedEmbeddings: Bool = true, paddingRow: Int? = nil
    ) {
        self.vocabularySize = vocabularySize
        self.hiddenSize = hiddenSize
        self.embeddingSize = embeddingSize ?? hiddenSize
        self.feedForwardSize = feedForwardSize
        self.layers = layers
        self.heads = heads
        self.maximumPositions = maximumPositions
        self.normsBefore = normsBefore
        self.finalNorm = finalNorm
        self.bias = bias
        self.affineNorms = affineNorms
        self.tiedEmbeddings = tiedEmbeddings
        self.paddingRow = paddingRow
    }

    private static let keys: Set<String> = [
        "model_type", "vocab_size", "hidden_size", "word_embed_proj_dim", "ffn_dim", "num_hidden_layers", "num_attention_heads",
        "max_position_embeddings", "do_layer_norm_before", "_remove_final_layer_norm", "activation_function", "enable_bias",
        "layer_norm_elementwise_affine", "tie_word_embeddings",
        // Training, under this family's names.
        "dropout", "activation_dropout", "layerdrop", "init_std",
        // Published with opt-13b, and read by nobody.
        "output_projection",
    ]

    /// Reads a `config.json` with the defaults of the family's own configuration class.
    ///
    /// - Throws: ``FileError`` naming the key that is missing, has a value this program cannot run, or is not known and
    ///   may change what the network computes.
    package init(_ keys: HFConfig) throws(FileError) {
        try keys.refuseUnknown("opt", known: Self.keys)
        let activation = try keys.string("activation_function", default: "relu")
        guard activation == "relu" else {
            throw keys.failure("activation_function", "\(activation) is not supported, only relu")
        }
        let (hidden, heads) = (try keys.extent("hidden_size"), try keys.extent("num_attention_heads"))
        guard hidden % heads == 0 else {
            throw keys.failure("num_attention_heads", "\(heads) does not divide a hidden_size of \(hidden)")
        }
        let layers = try keys.extent("num_hidden_layers")
        guard layers <= Self.mostLayers else {
            throw keys.failure("num_hidden_layers", "\(layers) is more than \(Self.mostLayers)")
        }
        let before = try keys.bool("do_layer_norm_before", default: true)
        let vocabulary = try keys.extent("vocab_size")
        self.init(
            vocabularySize: vocabulary, hiddenSize: hidden,
            embeddingSize: try keys.extent("word_embed_proj_dim", default: hidden),
            feedForwardSize: try keys.extent("ffn_dim"), layers: layers, heads: heads,
            maximumPositions: try keys.extent("max_position_embeddings"), normsBefore: before,
            finalNorm: try !keys.bool("_remove_final_layer_norm", default: false) && before,
            bias: try keys.bool("enable_bias", default: true),
            affineNorms: try keys.bool("layer_norm_elementwise_affine", default: true),
            tiedEmbeddings: try keys.bool("tie_word_embeddings", default: true),
            paddingRow: keys.paddingRow(of: vocabulary, default: 1))
    }
}
