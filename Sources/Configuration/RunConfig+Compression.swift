package import Calibration
package import LinearAlgebra
internal import Parallelism
package import Quantization
package import Rotation
package import TernarySVD

/// Bits of an integer quantizer: 16 leaves values as they are.
private let bitChoices: Rule<Int> = .oneOf([2, 3, 4, 5, 6, 7, 8, 16])

/// How the range of a weight quantizer is found.
package enum WeightClipping: String, Choice {
    /// The extremes.
    case none
    /// The least error among shrunken ranges.
    case search
}

extension SymmetricRange: Choice {}

/// `quantization.*`: bits and ranges of weights, activations, keys and values.
package struct QuantizationSettings: Sendable, Equatable {
    /// How weights become integers.
    package struct Weights: Sendable, Equatable {
        package var bits: Int
        package var symmetric: Bool
        /// `tensor`, `channel` or `group`.
        package var granularity: QuantizerGranularity
        package var method: WeightMethod
        package var clip: WeightClipping
        package var gptq: GPTQSettings
    }

    /// How the inputs of linear layers are rounded, token by token.
    package struct Range: Sendable, Equatable {
        package var bits: Int
        package var symmetric: Bool
        package var symmetricRange: SymmetricRange
        /// Whether each head of the output projection's input has a range of its own, instead of one for the token. nil: but in
        /// what `quantize` writes for other programs.
        package var headRanges: Bool?
    }

    /// Keys and values may have bits of their own.
    package struct Cache: Sendable, Equatable {
        package var bits: Int
        /// nil for `bits`.
        package var keyBits: Int?
        /// nil for `bits`.
        package var valueBits: Int?
        package var symmetric: Bool

        /// Bits of a key.
        package var keys: Int { keyBits ?? bits }
        /// Bits of a value.
        package var values: Int { valueBits ?? bits }
    }

    package var weights: Weights
    package var activations: Range
    package var kv: Cache
    /// Of the ranges of activations and cache.
    package var clipRatios: ClipRatios
    /// Bits of some linears' weights, for `quantize`.
    package var overrides: BitOverrides
    /// Bits of the embedding's rows, for `quantize`.
    package var embeddingBits: Int
    /// Bits of the head's rows, for `quantize`.
    package var headBits: Int

    /// Which weights share a scale, where the size of a group stands in a setting of its own.
    private enum Granularity: String, Choice { case tensor, channel, group }

    /// The word for bits of keys or of values that follow `kv.bits`.
    static let asCache = "same"

    init(_ key: Settings) {
        let weightKey = key.section("weights")
        weights = Weights(
            bits: weightKey("bits", 16, "bits of a weight; 16: not quantized (quantize: 4 unless given)", bitChoices),
            symmetric: weightKey("symmetric", true, "range symmetric about zero"),
            granularity: Self.granularity(weightKey),
            method: weightKey(
                "method", WeightMethod.nearest,
                "rtn: rounding to nearest; for quantize alone: gptq (on calibration.sequences of data.train.path), absmax and "
                    + "zero-point (ranges from the extremes, symmetric, or asymmetric with 0 in them; they need clip=none and "
                    + "symmetric to agree); stored: they are rounded already, as in the model/ of an "
                    + "integer qat, and stay as they are"
            ),
            clip: weightKey("clip", .search, "search: shrink each range to where its error is least"),
            gptq: GPTQSettings(weightKey.section("gptq")))
        let activationKey = key.section("activations")
        activations = Range(
            bits: activationKey("bits", 4, "bits of a linear layer's input; 16: not quantized", bitChoices),
            symmetric: activationKey("symmetric", false, "range symmetric about zero"),
            symmetricRange: activationKey(
                "symmetric_range", SymmetricRange.full,
                "steps of a symmetric range of b bits: full, 2^b - 1, as in transformers; restricted, 2^b - 2, as in "
                    + "SpinQuant"),
            headRanges: activationKey.optional(
                "head_ranges", formerly: "quantize.head_ranges", meaning: ["true": "auto"], orElse: "auto",
                "round the output projection's input with a range for each head; false: one for the token, as other programs "
                    + "have it; auto: true, but in quantize false without quantize.online=true")
        )
        let cacheKey = key.section("kv")
        kv = Cache(
            bits: cacheKey("bits", 4, "bits of keys and values; 16: not quantized", bitChoices),
            keyBits: cacheKey.optional(
                "key_bits", orElse: Self.asCache, "bits of keys; \(Self.asCache): those of kv.bits", bitChoices),
            valueBits: cacheKey.optional(
                "value_bits", orElse: Self.asCache, "bits of values; \(Self.asCache): those of kv.bits", bitChoices),
            symmetric: cacheKey("symmetric", false, "range symmetric about zero"))
        clipRatios = key(
            "clip_ratios", ClipRatios.none,
            "factors on the ranges of rounded inputs, keys and values: none, 1 everywhere; rotated, what suits a rotated "
                + "network of 4 bits; or by site, such as down_input=0.85,key=0.95, 1 elsewhere"
        )
        overrides = key(
            "overrides", BitOverrides.none,
            "quantize and eval: bits of weights by layer, such as *.down_proj=8,model.layers.0.*=16; the last one that matches "
                + "counts")
        embeddingBits = key(
            "embedding_bits", 16,
            "quantize and eval: bits of the embedding, one scale per row; 16: not rounded. Other programs read 8", bitChoices)
        headBits = key(
            "head_bits", 16,
            "quantize and eval: bits of the head, one scale per row; 16: not rounded. Where the embedding is the head, and "
                + "rotations give it no matrix of its own, as embedding_bits; eval scores other bits as a matrix of its own",
            bitChoices)
    }
}

extension QuantizationSettings {
    private static func granularity(_ key: Settings) -> QuantizerGranularity {
        let granularity = key(
            "granularity", Granularity.channel, "weights that share a scale; channel: an output's row")
        let size = key("group_size", 128, "inputs per group, where granularity is group", .range(2...65536))
        return switch granularity {
        case .tensor: .tensor
        case .channel: .channel
        case .group: .group(size)
        }
    }
}

/// Layers whose weights have bits of their own: patterns with a number, separated by commas.
package struct BitOverrides: SettingValue {
    package static let expectation = "PATTERN=BITS, separated by commas, each pattern once, bits 2 to 8 or 16, or none"
    package static let isText = true
    package static let none = BitOverrides(entries: [])

    /// The bits of the layers that a pattern matches.
    package struct Entry: Sendable, Equatable {
        package let pattern: LayerPattern
        package let bits: Int
    }
    package let entries: [Entry]

    private init(entries: [Entry]) { self.entries = entries }

    package init?(settingText text: String) {
        guard text != "none" else {
            self = .none
            return
        }
        guard let pairs = text.settingPairs else { return nil }
        var entries: [Entry] = []
        for (name, number) in pairs {
            guard let pattern = LayerPattern(settingText: String(name)), let bits = Int(number),
                (2...8).contains(bits) || bits == 16, !entries.contains(where: { $0.pattern == pattern })
            else { return nil }
            entries.append(Entry(pattern: pattern, bits: bits))
        }
        self.init(entries: entries)
    }

    package var settingText: String {
        entries.isEmpty ? "none" : entries.map { "\($0.pattern.settingText)=\($0.bits)" }.joined(separator: ",")
    }
}

/// What layers are calibrated on.
package struct CalibrationSettings: Sendable, Equatable {
    /// Of the training text, from its beginning.
    package var sequences: Int
    package var mode: CalibrationMode

    init(_ key: Settings) {
        sequences = key(
            "sequences", 128,
            "gptq, ternary.weighting, quantize.balance, rotation.balance and transforms that look at text: sequences of "
                + "data.sequence_length tokens, from the beginning of data.train.path",
            .range(1...1_000_000))
        mode = key(
            "mode", .sequential,
            "gptq and ternary.weighting: on the activations of the network as compressed so far, or of the full-precision one")
    }
}

extension CalibrationMode: Choice {}

/// How a rotation merged into the weights comes about.
package enum MergedRotation: String, Choice { case learned, hadamard, none }
/// How a rotation computed at run time comes about.
package enum OnlineRotation: String, Choice { case hadamard, none }
extension CayleySGD.Retraction: Choice {}
extension QuantizerGradient: Choice {}
extension RotationObjective: Choice {}

/// `rotation.*`: which rotations there are, and how R1 and R2 are learned.
package struct RotationSettings: Sendable, Equatable {
    package var r1: MergedRotation
    package var r2: MergedRotation
    package var r3: OnlineRotation
    package var r4: OnlineRotation
    package var retraction: CayleySGD.Retraction
    package var gradient: QuantizerGradient
    package var objective: RotationObjective
    /// Whether channels are balanced first.
    package var balance: Bool
    /// Whose activations are stored.
    package var sequences: Int
    /// Number of these that a step uses.
    package var tokens: Int
    /// Random rotations the best of which is the start.
    package var starts: Int
    /// Steps on stored activations before the first of `objective`.
    package var pretrainSteps: Int
    package var trainWeightBits: Int
    package var momentum: Double
    /// Rotations to start from, or to evaluate.
    package var path: String?

    /// Whether neither R1 nor R2 is learned.
    package var isFixed: Bool { r1 != .learned && r2 != .learned }
    /// Whether weights can be rounded while rotations are learned.
    package var canRoundWeights: Bool { objective.runsNetwork }

    init(_ key: Settings) {
        path = key.path(
            "path", orElse: "none",
            "rotations.safetensors or R.bin to start from, or for eval to score and quantize to use; none: random")
        r1 = key("r1", .learned, "residual stream, one for the model")
        r2 = key("r2", .learned, "values and the output projection's input, one per layer")
        r3 = key("r3", .hadamard, "queries and keys after the position embedding, at run time")
        r4 = key("r4", .hadamard, "the down projection's input, at run time")
        balance = key(
            "balance", false,
            "rotate, eval, quantize, qat.method=integer: balance channels first, as quantize.balance does (quantize: either "
                + "of the two), which rotations of a file learned so need; reads calibration.sequences"
        )
        retraction = key("retraction", .exact, "Cayley transform by a solve, or by the published fixed-point iteration")
        gradient = key("gradient", .range, "gradient through the quantizers, with or without their ranges")
        objective = key(
            "objective", .divergence,
            "kl: to the full-precision model; ce: cross-entropy with the text; without a backward pass, of activations stored "
                + "in one pass: range (squared width of what is rounded), whip, kurtosis; weights: their kurtosis, no text"
        )
        sequences = key(
            "sequences", 32, "range, whip, kurtosis: sequences whose activations are stored, from the start of the text",
            .range(1...1_000_000))
        tokens = key("tokens", 512, "range, whip, kurtosis: tokens of these that a step looks at", .range(1...1_000_000_000))
        starts = key(
            "starts", 1, "random rotations to choose the start from, by the range of stored activations", .range(1...10_000))
        pretrainSteps = key(
            "pretrain_steps", 0, "kl, ce: steps of the objective range before the first one", .range(0...1_000_000))
        trainWeightBits = key("train_weight_bits", 16, "bits of a weight while learning; 16: not quantized", bitChoices)
        momentum = key("momentum", 0, "momentum of Cayley SGD", .from(0, below: 1))
    }
}

extension TernaryOptions.Mode: Choice {}
extension TernaryWeighting: Choice {}
extension TernarySparsity: Choice {}

/// `ternary.*`: which layers become ternary factors, how, and how training adapts them.
package struct TernarySettings: Sendable, Equatable {
    package var tolerance: Double
    package var threshold: Double
    package var rounds: Int
    /// nil for what suits the mode.
    package var pruneRate: Double?
    /// Steps from one adaptation of U and V to the next; 0 for none.
    package var adaptEvery: Int
    package var mode: TernaryOptions.Mode
    package var refinement: Bool
    package var balance: Bool
    /// nil for economy where nothing is balanced.
    package var economy: Bool?
    /// In which norm `ptq` lowers the error of the factors.
    package var weighting: TernaryWeighting
    /// Bits a weight that `ptq` divides among the layers, as digits of whole numbers; nil for a tolerance.
    package var bits: Double?
    /// What neighbors in a factor keep to.
    package var sparsity: TernarySparsity
    /// Which linear layers become ternary; see ``LayerPattern``.
    package var layers: LayerPattern
    /// Packed factors to evaluate, or to start from.
    package var path: String?

    init(_ key: Settings) {
        path = key.path(
            "path", orElse: "none",
            "ternary.safetensors of ptq or qat, or their run folder: eval scores it instead of the layers it names, qat "
                + "starts from it"
        )
        // For ptq and qat alike: in the default mode it costs the embedded model 4 % of perplexity, which training wins back.
        let usualTolerance = 0.1
        let usual = TernaryOptions(tolerance: Float(usualTolerance))
        tolerance = key(
            "tolerance", usualTolerance, "largest singular value of the residual, relative to the (balanced) weight's",
            .between(0, 1))
        threshold = key(
            "threshold", TernaryOptions.defaultThreshold, "cosine a ternary projection must reach", .above(0, upTo: 1))
        rounds = key("rounds", usual.rounds, "rounds planned for a full decomposition", .range(1...10_000))
        pruneRate = key.optional(
            "prune_rate", orElse: "auto",
            "in training, a component weaker than this times the best new one is dropped; auto: "
                + "\(LayerTransition.publishedPruneRate) in the reference mode, else 0",
            .atLeast(0))
        adaptEvery = key(
            "adapt_every", 4,
            "in training, steps between adaptations of U and V to the weights; s is solved for in each step; 0, or the "
                + "reference mode: never",
            .range(0...1_000_000))
        mode = key("mode", usual.mode, "reference: the published algorithm step by step")
        refinement = key(
            "refinement", usual.refinement,
            "default mode: alternate each new pair's two sides, and reconsider all entries by coordinate descent, a non-zero "
                + "at a price"
        )
        balance = key("balance", usual.balance, "default mode: scale rows and columns to equal size before decomposing")
        economy = key.optional(
            "economy", orElse: "auto", default: usual.economy,
            "default mode: as few components and additions as the tolerance allows, with more squared error; auto: unless "
                + "balanced"
        )
        weighting = key(
            "weighting", TernaryWeighting.none,
            "ptq: lower the error of the layers' outputs on calibration.sequences of data.train.path by coordinate descent; "
                + "inputs: every output alike; both: each relative to the size of its row; none: no text is read"
        )
        bits = key.optional(
            "bits", orElse: "none",
            "ptq: bits a weight, of the whole file of factors, instead of a tolerance: layers become whole numbers with "
                + "ternary digits, by ternary.weighting, and share the bits by what each saves; which bits they can have "
                + "depends on the layers (about 0.2 to 5), and is known once they are drafted",
            .range(0.1...8))
        sparsity = key(
            "sparsity", usual.sparsity,
            "ptq, qat: 2:4: of four neighbors in a row of a factor at most two are not 0, with ternary.bits by digits of "
                + "powers of 2, else by the descent; stored in a form of its own"
        )
        layers = key(
            "layers", LayerPattern.all,
            "comma-separated patterns of linear layers to decompose, such as *.mlp.*; never the head")
    }

    /// The options of a decomposition, from `ternary.*`.
    package func options(seed: Int) -> TernaryOptions {
        var options = TernaryOptions(tolerance: Float(tolerance), mode: mode)
        options.threshold = Float(threshold)
        options.rounds = rounds
        options.refinement = refinement
        options.balance = balance
        options.economy = economy
        options.sparsity = sparsity
        options.seed = UInt64(seed)
        return options
    }
}

extension RunConfig {
    /// What settings stood for in runs that were recorded before they were there.
    package static func formerValues(of settings: [String: String]) -> [String: String] {
        let isSymmetric = settings["quantization.activations.symmetric"] == "true"
        return [
            "quantization.activations.symmetric_range": (isSymmetric ? SymmetricRange.restricted : .full).rawValue,
            "quantization.clip_ratios": ClipRatios.none.settingText, "quantization.weights.gptq.compensation": "0",
        ]
    }

    /// The configuration that a run has recorded, whose settings that were not there yet stand for what they stood for then.
    package init(recordedIn file: String) throws { try self.init(file: file, assignments: Self.former(in: file)) }

    /// Assignments of the settings that a recorded configuration does not have yet.
    static func former(in file: String) throws -> [String] {
        let given = try SettingsRequest(file: file, assignments: []).given()
        return formerValues(of: given.mapValues(\.text)).filter { given[$0.key] == nil }.map { "\($0.key)=\($0.value)" }
            .sorted()
    }
}
