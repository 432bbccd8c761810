internal import Configuration
internal import Models
internal import Quantization
internal import Runs
internal import Trainer

/// How each linear's weight is rounded: as `quantization.weights` says, with the bits of the last pattern of
/// `quantization.overrides` that names it. Also how embedding and head are rounded.
struct WeightPlan {
    private let quantizers: [String: WeightQuantizer]
    let hasOverrides: Bool
    private let tables: TableQuantizers

    /// - Throws: ``ConfigurationError`` where groups do not divide a linear's inputs, or a pattern names no linear.
    init(_ config: RunConfig, _ architecture: Architecture) throws(ConfigurationError) {
        let recipe = QuantizationRecipe(config, architecture)
        guard config.quantization.weights.method != .stored else {
            (quantizers, hasOverrides, tables) = ([:], false, .none)
            return
        }
        let overrides = config.quantization.overrides.entries
        hasOverrides = !overrides.isEmpty
        var quantizers: [String: WeightQuantizer] = [:]
        var used = Set<Int>()
        for linear in architecture.linears {
            let named = overrides.indices.filter { overrides[$0].pattern.matches(linear.name) }
            used.formUnion(named)
            let bits = named.last.map { overrides[$0].bits } ?? config.quantization.weights.bits
            guard let quantizer = recipe.weights(bits: bits) else { continue }
            quantizers[linear.name] = quantizer
        }
        try recipe.checkGroups(architecture.linears.filter { quantizers[$0.name] != nil })
        if let unused = overrides.indices.first(where: { !used.contains($0) }) {
            throw ConfigurationError(
                "quantization.overrides", "'\(overrides[unused].pattern.settingText)' matches none of the model's linear layers"
            )
        }
        self.quantizers = quantizers
        tables = TableQuantizers(config.quantization)
    }

    /// One quantizer for all linears.
    init(_ quantizer: WeightQuantizer, _ architecture: Architecture) {
        quantizers = Dictionary(uniqueKeysWithValues: architecture.linears.map { ($0.name, quantizer) })
        hasOverrides = false
        tables = .none
    }

    /// The quantizer of the embedding or the head; nil where it is not rounded, and for everything else.
    subscript(role: ParameterSpec.Role) -> WeightQuantizer? { tables[role] }

    /// Whether a tied embedding would have to become two matrices.
    var untiesHead: Bool { tables.embedding != tables.head }

    /// - Parameter tied: whether the embedding serves as head.
    /// - Throws: ``ConfigurationError`` where a tied embedding would have to become two matrices.
    func checkTables(tied: Bool) throws(ConfigurationError) {
        guard tied, untiesHead else { return }
        throw ConfigurationError(
            "quantization.head_bits",
            "differs from quantization.embedding_bits, and the embedding is the head; give both the same")
    }

    /// The quantizer of a linear; nil where it is not rounded.
    subscript(linear: String) -> WeightQuantizer? { quantizers[linear] }

    /// Whether any weight is rounded.
    var rounds: Bool { !quantizers.isEmpty || tables.embedding != nil || tables.head != nil }

    /// Quantizers of the linears that are rounded.
    var specs: [String: QuantizerSpec] { quantizers.mapValues(\.spec) }
}

extension ModelSizes {
    /// The size with each weight as integers according to the plan.
    func rounded(by plan: WeightPlan) -> ModelSize {
        (plan.untiesHead ? untied : self).rounded(by: { plan[$0] }, table: { plan[$0] })
    }
}

/// Quantizers of embedding and head, which are not linears: rounding to nearest, with a symmetric range for each row.
private struct TableQuantizers {
    let embedding: WeightQuantizer?
    let head: WeightQuantizer?

    static let none = TableQuantizers(embedding: nil, head: nil)

    private init(embedding: WeightQuantizer?, head: WeightQuantizer?) { (self.embedding, self.head) = (embedding, head) }

    init(_ settings: QuantizationSettings) {
        func rows(_ bits: Int) -> WeightQuantizer? {
            guard bits < 16 else { return nil }
            return WeightQuantizer(
                QuantizerSpec(bits: bits, symmetric: true, granularity: .channel),
                searchesClip: settings.weights.clip == .search)
        }
        self.init(embedding: rows(settings.embeddingBits), head: rows(settings.headBits))
    }

    subscript(role: ParameterSpec.Role) -> WeightQuantizer? { role == .embedding ? embedding : role == .head ? head : nil }
}
