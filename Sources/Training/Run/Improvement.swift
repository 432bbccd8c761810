internal import HuggingFace

/// Whether training was worth it: perplexity on the evaluation windows, of what it began with and of what it ended with.
struct Improvement {
    let before: Double
    let after: Double

    /// By more than the rounding of sums.
    private var isRise: Bool { after > before * (1 + 1e-6) }

    /// Adds `improved` to a job's part of `summary.json`.
    func add(to results: inout JSONObject) { results["improved"] = .bool(!isRise) }

    /// For the user; nil where nothing has become worse.
    var warning: String? {
        guard isRise else { return nil }
        return "warning: training has made the model worse: perplexity rose from \(before.formatted(decimals: 4)) to "
            + "\(after.formatted(decimals: 4)); lower training.learning_rate, or give it more text"
    }
}
