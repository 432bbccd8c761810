/// What a model is made of: everything that jobs, rotations, plans, ternary layers and writers ask of it.
///
/// A model is an entry, blocks one after the other, and an exit; a pipeline cuts between blocks.
package struct Architecture: Sendable, Equatable {
    /// `model_type` of its config.json.
    package let type: String
    /// The shape in a line.
    package let summary: String
    /// Width of the residual stream.
    package let hiddenSize: Int
    package let vocabularySize: Int
    package let maximumPositions: Int
    package let entry: [ParameterSpec]
    package let blocks: [Block]
    /// Ends with the head, which is listed also where the embedding serves as head.
    package let exit: [ParameterSpec]
    /// Of the exit.
    package let norms: [NormRule]
    /// Whether the embedding serves as head too.
    package var tiesHead: Bool
    package let rotatability: Rotatability
    /// The row of the embedding that learns nothing from being looked up; nil where all do.
    package let paddingRow: Int?
    /// Whether transformers joins the sequences of a batch before the feed-forward network, so that compressed-tensors, which
    /// takes a range for each row of a sequence, takes one for all tokens there.
    package let joinsSequences: Bool

    package init(
        type: String, summary: String, hiddenSize: Int, vocabularySize: Int, maximumPositions: Int, entry: [ParameterSpec],
        blocks: [Block], exit: [ParameterSpec], norms: [NormRule], tiesHead: Bool, rotatability: Rotatability = .rotatable,
        paddingRow: Int? = nil, joinsSequences: Bool = false
    ) {
        self.type = type
        self.summary = summary
        self.hiddenSize = hiddenSize
        self.vocabularySize = vocabularySize
        self.maximumPositions = maximumPositions
        (self.entry, self.blocks, self.exit, self.norms) = (entry, blocks, exit, norms)
        self.tiesHead = tiesHead
        self.rotatability = rotatability
        self.paddingRow = paddingRow
        self.joinsSequences = joinsSequences
    }

    /// Whether R1 and R2 leave the function as it is, when norms are fused.
    package enum Rotatability: Sendable, Equatable {
        case rotatable
        /// Why not.
        case fixed(String)
    }

    /// A norm of the residual stream whose output is a hook point: gain and shift fold into the linears that read it, unless
    /// the stream continues from that output.
    package struct NormRule: Sendable, Equatable {
        /// Which norm it is.
        package enum Kind: Sendable, Equatable {
            /// RMSNorm.
            case rms
            /// LayerNorm, which takes the mean away first.
            case layer
        }
        package let kind: Kind
        /// nil where the norm has no factors.
        package let gain: String?
        /// nil where the norm adds nothing.
        package let shift: String?
        package let output: HookPoint
        /// Whether the output is the residual stream from there on (norms after the sums), and not what linears alone read.
        package let isStream: Bool

        package init(_ kind: Kind = .rms, gain: String?, shift: String? = nil, output: HookPoint, isStream: Bool = false) {
            (self.kind, self.gain, self.shift, self.output, self.isStream) = (kind, gain, shift, output, isStream)
        }

        /// Whether its factors may be divided by what the linears that read it are multiplied by.
        package var isScalable: Bool { gain != nil && !isStream }
    }

    /// Attention's heads in a block.
    package struct Heads: Sendable, Equatable {
        package let query: Int
        package let keyValue: Int
        /// Values of a head.
        package let dimension: Int
        /// Positions that a query sees, its own included; nil for all before it.
        package let window: Int?

        package init(query: Int, keyValue: Int, dimension: Int, window: Int? = nil) {
            (self.query, self.keyValue, self.dimension, self.window) = (query, keyValue, dimension, window)
        }
    }

    /// A linear layer of a block.
    package struct Linear: Sendable, Equatable {
        package let spec: ParameterSpec
        package let ports: ParameterSpec.Ports
    }

    /// A stretch of the network between two possible cuts: a layer, or attention or the feed-forward network of one.
    package struct Block: Sendable, Equatable {
        /// The place of the layer in the model, counted from 0. A layer's blocks stand together.
        package let layer: Int
        /// Of its parameters' names in a checkpoint, such as `model.layers.3.`.
        package let prefix: String
        package let parameters: [ParameterSpec]
        package let norms: [NormRule]
        /// nil without attention.
        package let heads: Heads?
        /// Weight of the layer each of whose outputs, times a positive factor, multiplies one of the down projection's inputs
        /// by it; nil without.
        package let innerProducer: String?
        /// Whether queries and keys as projected can be scaled against each other, with one factor for channels j and j + d/2
        /// of a head: nothing but a rotary embedding stands between them and their product.
        package let scalesKeys: Bool

        package init(
            layer: Int, prefix: String, parameters: [ParameterSpec], norms: [NormRule], heads: Heads? = nil,
            innerProducer: String? = nil, scalesKeys: Bool = false
        ) {
            (self.layer, self.prefix, self.parameters) = (layer, prefix, parameters)
            (self.norms, self.heads) = (norms, heads)
            (self.innerProducer, self.scalesKeys) = (innerProducer, scalesKeys)
        }
    }
}

/// A linear layer of a model: name and shape of its weight.
package struct LinearShape: Sendable, Equatable {
    /// As in the checkpoint, without `.weight`.
    package let name: String
    /// [out, in].
    package let shape: [Int]

    package init(name: String, shape: [Int]) { (self.name, self.shape) = (name, shape) }
}

// MARK: - Asked of a block

extension Architecture.Block {
    /// The weights of its linear layers, in the checkpoint's order.
    package var linears: [Architecture.Linear] {
        var result: [Architecture.Linear] = []
        for spec in parameters {
            if case .linear(let ports) = spec.role { result.append(Architecture.Linear(spec: spec, ports: ports)) }
        }
        return result
    }

    /// Values per token at a hook point: what is read there or, where nothing reads, written; 0 where nothing passes.
    package func width(_ point: HookPoint) -> Int {
        if let reader = linears.first(where: { $0.ports.reads == point }) { return reader.spec.shape[1] }
        return linears.first { $0.ports.writes == point }?.spec.shape[0] ?? 0
    }

    /// The points at which linears read the residual stream.
    package var residualInputs: [HookPoint] { HookPoint.allCases.filter { $0.readsResidual && width($0) > 0 } }
    /// The points at which linears write to the residual stream.
    package var residualOutputs: [HookPoint] { HookPoint.allCases.filter { $0.writesResidual && width($0) > 0 } }

    /// Rows of the products that rotating the linears at a point of the residual stream takes, each of h² multiply-adds.
    package func rotatedRows(_ point: HookPoint) -> Int {
        linears.reduce(0) {
            $0 + ($1.ports.reads == point ? $1.spec.shape[0] : $1.ports.writes == point ? $1.spec.shape[1] : 0)
        }
    }
}

// MARK: - Asked of a model

extension Architecture {
    /// All blocks' linear layers, in the checkpoint's order; without the head.
    package var linears: [LinearShape] {
        blocks.flatMap { block in
            block.linears.map {
                LinearShape(name: block.prefix + $0.spec.layerName, shape: $0.spec.shape)
            }
        }
    }

    /// Embedding and head, which may be rounded as linears are; the head unless the embedding serves as it.
    package var tables: [LinearShape] { tableSpecs.map { LinearShape(name: $0.layerName, shape: $0.shape) } }

    /// The same, as they are stored.
    package var tableSpecs: [ParameterSpec] {
        entry.filter { $0.role == .embedding } + exit.filter { $0.role == .head && !tiesHead }
    }

    /// The head's spec. - Precondition: the model makes logits.
    package var head: ParameterSpec {
        guard let head = exit.first(where: { $0.role == .head }) else { preconditionFailure("\(type) makes no logits") }
        return head
    }

    /// Values of an attention head, the same in all blocks that have attention; nil without attention.
    package var headDimension: Int? { blocks.lazy.compactMap(\.heads).first?.dimension }

    /// Width of the feed-forward networks' inner values; 0 without any.
    package var downWidth: Int { blocks.map { $0.width(.downInput) }.max() ?? 0 }

    /// Whether norms of blocks have factors that linears can take scales from, as SmoothQuant does.
    package var hasScalableNorms: Bool { blocks.contains { $0.norms.contains(where: \.isScalable) } }

    /// Whether the norms take the mean of the residual stream away, so that R1 must leave it as it is: R1·1 = 1.
    package var takesMeans: Bool {
        norms.contains { $0.kind == .layer } || blocks.contains { $0.norms.contains { $0.kind == .layer } }
    }

    /// The table of tokens; nil where tokens do not enter.
    package var embedding: ParameterSpec? { entry.first { $0.role == .embedding } }

    /// Parameters, as a floating-point number, since a broken config.json may describe more than an integer counts.
    package var parameterCount: Double {
        func count(_ specs: [ParameterSpec]) -> Double {
            specs.reduce(0) { $0 + $1.shape.reduce(1) { $0 * Double($1) } }
        }
        return count(entry) + blocks.reduce(0) { $0 + count($1.parameters) } + count(exit)
    }
}
