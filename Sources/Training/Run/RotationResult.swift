package import Evaluation
package import HuggingFace

/// What learning rotations came to: the four ways to quantise the model, compared on the evaluation windows.
package struct RotationResult: Sendable {
    package var fullPrecisionPerplexity: Double
    package var roundToNearest: LanguageModelScore
    package var hadamard: LanguageModelScore
    package var learned: LanguageModelScore
    package var firstLoss: Double
    package var lastLoss: Double
    /// max|RᵀR − I| over the rotations.
    package var orthogonalityError: Double
    /// Largest change of a logit by the merged rotations in full precision, relative to the largest logit.
    package var invarianceError: Double
    package var bits: (weights: Int, activations: Int, kv: Int)

    package init(
        fullPrecisionPerplexity: Double, roundToNearest: LanguageModelScore, hadamard: LanguageModelScore, learned: LanguageModelScore, firstLoss: Double,
        lastLoss: Double, orthogonalityError: Double, invarianceError: Double, bits: (weights: Int, activations: Int, kv: Int)
    ) {
        self.fullPrecisionPerplexity = fullPrecisionPerplexity
        self.roundToNearest = roundToNearest
        self.hadamard = hadamard
        self.learned = learned
        self.firstLoss = firstLoss
        self.lastLoss = lastLoss
        self.orthogonalityError = orthogonalityError
        self.invarianceError = invarianceError
        self.bits = bits
    }

    private var ways: [(name: String, title: String, quality: LanguageModelScore)] {
        [
            ("rtn", "round to nearest", roundToNearest), ("hadamard", "Hadamard", hadamard), ("learned", "learned", learned),
        ]
    }

    /// The job's part of `summary.json`.
    package var json: JSONObject {
        var perplexity = JSONObject(), divergence = JSONObject(), object = JSONObject()
        perplexity["full_precision"] = .double(fullPrecisionPerplexity)
        for way in ways {
            perplexity[way.name] = .double(way.quality.perplexity)
            divergence[way.name] = .double(way.quality.klDivergence ?? 0)
        }
        object["perplexity"] = .object(perplexity)
        object["kl_divergence"] = .object(divergence)
        object["loss"] = ["first": .double(firstLoss), "last": .double(lastLoss)]
        object["orthogonality_error"] = .double(orthogonalityError)
        object["invariance_error"] = .double(invarianceError)
        object["bits"] = ["weights": .integer(bits.weights), "activations": .integer(bits.activations), "kv": .integer(bits.kv)]
        return object
    }

    /// The table the job ends with.
    package var table: Table {
        var table = Table(columns: ["\(bits.weights)-bit weights, \(bits.activations)-bit activations, \(bits.kv)-bit KV", "perplexity", "KL (nats)"])
        table.add(["full precision", fullPrecisionPerplexity.formatted(decimals: 2), "0"])
        for way in ways {
            table.add([way.title, way.quality.perplexity.formatted(decimals: 2), (way.quality.klDivergence ?? 0).formatted(decimals: 4)])
        }
        return table
    }
}
