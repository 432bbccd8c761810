package import Configuration
package import Evaluation
package import Support

/// The bits that a network computes with; 16 and more: not quantized.
package struct NetworkBits: Sendable, Equatable {
    /// nil where weights are factors, whose bits are measured, not set.
    package var weights: Int?
    package var activations: Int
    package var keys: Int
    package var values: Int

    package init(weights: Int?, activations: Int, keys: Int, values: Int) {
        self.weights = weights
        self.activations = activations
        self.keys = keys
        self.values = values
    }

    /// The bits of a configuration.
    package init(_ settings: QuantizationSettings) {
        self.init(
            weights: settings.weights.bits, activations: settings.activations.bits, keys: settings.kv.keys,
            values: settings.kv.values)
    }

    /// Nothing quantized.
    package static let full = NetworkBits(weights: 16, activations: 16, keys: 16, values: 16)

    /// Ternary factors; activations and cache are not quantized.
    package static let factors = NetworkBits(weights: nil, activations: 16, keys: 16, values: 16)

    /// Such as `W4 A8 KV4`, or `W4 A8 K16 V4`.
    package var text: String {
        (weights.map { "W\($0) " } ?? "") + "A\(activations) " + (keys == values ? "KV\(keys)" : "K\(keys) V\(values)")
    }

    package var json: JSONValue {
        [
            "weights": weights.map { .integer($0) } ?? .null, "activations": .integer(activations), "keys": .integer(keys),
            "values": .integer(values),
        ]
    }
}

/// Ways to run one model, scored on the same windows: the table that `eval`, `rotate`, `quantize`, `ptq` and `qat` end with,
/// and their scores in `summary.json`.
package struct ScoreTable: Sendable {
    /// One way to run the model, and its scores.
    package struct Row: Sendable {
        /// Its key in `summary.json`.
        package let key: String
        package let label: String
        package let bits: NetworkBits
        package let score: LanguageModelScore
        package let size: ModelSize?
    }

    /// Such as `W16 A4 KV4, 40 windows of 256 tokens`.
    package let title: String
    /// Bits of the quantized rows.
    package let bits: NetworkBits
    package private(set) var rows: [Row] = []
    /// Key of the result, where it is not the last row.
    private var resultKey: String?

    package init(_ bits: NetworkBits, windows: Int, length: Int) {
        self.bits = bits
        // Factors do not have a single number of bits.
        title = "\(bits == .factors ? "" : bits.text + ", ")\(counted(windows, "window")) of \(length) tokens"
    }

    /// Adds a row; `key` is its name in `summary.json`.
    package mutating func add(
        _ key: String, _ label: String, _ bits: NetworkBits, _ score: LanguageModelScore, _ size: ModelSize? = nil
    ) {
        rows.append(Row(key: key, label: label, bits: bits, score: score, size: size))
    }

    /// Adds a row that was made elsewhere.
    package mutating func add(_ row: Row) { rows.append(row) }

    /// The row with the run's own numbers, for example in a sweep: what the job has made or was asked to score. It is the last
    /// row unless the job chooses another.
    package var result: Row? { rows.first { $0.key == resultKey } ?? rows.last }

    /// Chooses the row of the ``result``. - Precondition: a row has the key.
    package mutating func choose(_ key: String) {
        precondition(rows.contains { $0.key == key }, "no row \(key)")
        resultKey = key
    }

    /// The table in 80 columns: the label, bits per weight including scales, bits of activations and cache, scores (KL in nats;
    /// top-1: the share of positions where the most likely token is that of full precision), and megabytes.
    package var text: String {
        let sized = rows.contains { $0.size != nil }
        var table = Table(
            columns: ["", "weight", "A", "KV", "perplexity", "KL", "top-1"] + (sized ? ["MB"] : []))
        for row in rows {
            let cache = row.bits.keys == row.bits.values ? "\(row.bits.keys)" : "\(row.bits.keys)/\(row.bits.values)"
            let megabytes = row.size.map { (Double($0.bytes) / 1e6).formatted(decimals: $0.bytes < 100_000_000 ? 1 : 0) }
            let weight = row.size.map { $0.bitsPerWeight.formatted(decimals: 2) } ?? row.bits.weights.map { "\($0)" }
            let divergence = row.score.klDivergence.map { $0.formatted(decimals: 4) }
            let agreement = row.score.agreement.map { (100 * $0).formatted(decimals: 1) + "%" }
            let cells = [
                row.label, weight ?? "–", "\(row.bits.activations)", cache, row.score.perplexity.formatted(decimals: 2),
                divergence ?? "–", agreement ?? "–",
            ]
            table.add(cells + (sized ? [megabytes ?? "–"] : []))
        }
        return title + "\n" + table.text
    }

    /// Adds `perplexity` and `kl_divergence` by row, `rows` with everything about each row, and the key of the ``result``.
    package func add(to results: inout JSONObject) {
        var perplexity = JSONObject(), divergence = JSONObject()
        for row in rows {
            perplexity[row.key] = .double(row.score.perplexity)
            if row.key != Self.fullPrecision, let kl = row.score.klDivergence { divergence[row.key] = .double(kl) }
        }
        results["perplexity"] = .object(perplexity)
        results["kl_divergence"] = .object(divergence)
        results["rows"] = .array(rows.map(\.json))
        results["result"] = result.map { .string($0.key) }
    }

    /// The key of the full-precision row, with which all others are compared.
    package static let fullPrecision = "full_precision"
}

extension ScoreTable.Row {
    fileprivate var json: JSONValue {
        var object = JSONObject()
        object["key"] = .string(key)
        object["label"] = .string(label)
        object["bits"] = bits.json
        object["perplexity"] = .double(score.perplexity)
        object["kl_divergence"] = score.klDivergence.map { .double($0) }
        object["top1_agreement"] = score.agreement.map { .double($0) }
        object["bits_per_weight"] = size.map { .double($0.bitsPerWeight) }
        object["bytes"] = size.map { .integer($0.bytes) }
        return .object(object)
    }
}
