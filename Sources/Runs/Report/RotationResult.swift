package import Configuration
package import Support

/// The result of learning rotations: the ways to quantize the model, compared on the evaluation windows.
package struct RotationResult: Sendable {
    package var table: ScoreTable
    /// Of the first and the last step; nil where nothing was learned.
    package var loss: JSONValue?
    /// max|RᵀR − I| over the rotations.
    package var orthogonalityError: Double
    /// Largest change of a logit by the merged rotations in full precision, relative to the largest logit.
    package var invarianceError: Double
    package var settings: QuantizationSettings

    package init(
        table: ScoreTable, loss: JSONValue?, orthogonalityError: Double, invarianceError: Double,
        settings: QuantizationSettings
    ) {
        self.table = table
        self.loss = loss
        self.orthogonalityError = orthogonalityError
        self.invarianceError = invarianceError
        self.settings = settings
    }

    /// The job's part of `summary.json`.
    package var json: JSONObject {
        var object = JSONObject()
        table.add(to: &object)
        object["loss"] = loss
        object["orthogonality_error"] = .double(orthogonalityError)
        object["invariance_error"] = .double(invarianceError)
        object["bits"] = settings.bitsJSON()
        return object
    }
}

extension QuantizationSettings {
    /// For `summary.json`: `kv` is `quantization.kv.bits`, `keys` and `values` the bits as resolved;
    /// `embedding` and `head` where they are rounded.
    ///
    /// - Parameter ofWeights: false where a folder's own weights are used, which have no one number.
    package func bitsJSON(ofWeights: Bool = true) -> JSONValue {
        var object = JSONObject()
        object["weights"] = ofWeights ? .integer(weights.bits) : .null
        object["activations"] = .integer(activations.bits)
        object["kv"] = .integer(kv.bits)
        object["keys"] = .integer(kv.keys)
        object["values"] = .integer(kv.values)
        if embeddingBits < 16 { object["embedding"] = .integer(embeddingBits) }
        if headBits < 16 { object["head"] = .integer(headBits) }
        return .object(object)
    }
}
