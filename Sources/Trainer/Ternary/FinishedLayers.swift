internal import Configuration
package import Support
package import TensorCore
package import TernarySVD
internal import TransitionBus

/// The layers that a decomposition has finished, with a file for each in the run's folder, so that an interrupted run continues
/// with the others: `decomposition/LAYER.safetensors`, a `TernaryFile` of one layer.
///
/// A layer is restored, bit for bit, only for the same weight and the same options, including the seed: their fingerprint is in
/// the file. Each file is written by the rank that has the layer, and may be read by any rank, however many there are. Where
/// machines do not share the run's folder, a rank finds only its own machine's files.
///
/// Results of a layer on a calibration text are in separate folders beside these files, one for each ``Stage``.
package struct FinishedLayers {
    private let folder: String
    private let options: TernaryOptions

    /// - Parameter run: the run's folder, which must exist when ``keep(_:of:name:)`` is first called.
    package init(run: String, _ options: TernaryOptions) {
        folder = "\(run)/\(RunFiles.finishedLayers)"
        self.options = options
    }

    private func file(_ name: String) -> String { "\(folder)/\(name).safetensors" }

    /// A fingerprint of the weight and everything that determines its factors.
    private func fingerprint(_ weight: Tensor) -> String {
        sha256(of: Array("\(options) \(weight.shape)\n".utf8) + stateDigest([weight]))
    }

    /// The layer's decomposition from the file, or from `work`, whose result is then kept.
    ///
    /// - Throws: what `work` throws; `FileError` where the file cannot be written.
    func decomposition(of weight: Tensor, name: String, or work: () throws -> TernaryDecomposition) throws
        -> TernaryDecomposition
    {
        if let kept = finished(weight, name: name) { return kept }
        let result = try work()
        try keep(result, of: weight, name: name)
        return result
    }

    /// The finished decomposition; nil where there is none, where it is of another weight or other options, and where it cannot
    /// be read. It is then made again.
    func finished(_ weight: Tensor, name: String) -> TernaryDecomposition? {
        guard PathKind(file(name)) == .file, let remarks = try? TernaryFile.remarks(of: file(name)),
            remarks[.fingerprint] == fingerprint(weight), let error = remarks[.relativeError].flatMap(Float.init),
            let factors = try? TernaryFile.read(file(name))[name], [factors.u.rows, factors.v.columns] == weight.shape
        else { return nil }
        return factors.decomposition(error: error)
    }

    func keep(_ decomposition: TernaryDecomposition, of weight: Tensor, name: String) throws {
        try makeFolder(folder)
        try TernaryFile.write(
            [name: TernaryFactors(decomposition, tolerance: options.tolerance, sparsity: options.sparsity)], to: file(name),
            remarks: [.fingerprint: fingerprint(weight), .relativeError: "\(decomposition.relativeError)"])
    }
}

// MARK: - Calibrated layers

extension FinishedLayers {
    /// A kind of result that layers get on a calibration text, and its folder in `decomposition/`.
    package enum Stage: String, Sendable {
        case drafts, digits, descent
    }

    /// What determines a calibrated layer.
    package struct Source {
        let weight: Tensor
        let name: String
        /// Digest of everything that determines the layer's inputs: `CalibratedLayers.origin`.
        let inputs: Digest
        /// Everything else that the result depends on besides the options, as text.
        let settings: String

        package init(weight: Tensor, name: String, inputs: Digest, settings: String) {
            (self.weight, self.name, self.inputs, self.settings) = (weight, name, inputs, settings)
        }
    }

    private func fingerprint(_ source: Source) -> String {
        sha256(of: Array((fingerprint(source.weight) + source.settings).utf8) + source.inputs)
    }

    private func prepare(_ stage: Stage) throws {
        try makeFolder(folder)
        try makeFolder("\(folder)/\(stage.rawValue)")
    }

    private func file(_ stage: Stage, _ name: String, _ suffix: String) -> String {
        "\(folder)/\(stage.rawValue)/\(name).\(suffix)"
    }

    /// The layer from its file; nil where there is none, where its source differs, and where it cannot be read.
    package func layer(_ source: Source, _ stage: Stage) -> TernaryReport.Layer? {
        let path = file(stage, source.name, "safetensors")
        guard PathKind(path) == .file, let remarks = try? TernaryFile.remarks(of: path),
            remarks[.fingerprint] == fingerprint(source), let error = remarks[.relativeError].flatMap(Double.init),
            let factors = try? TernaryFile.read(path)[source.name], [factors.u.rows, factors.v.columns] == source.weight.shape
        else { return nil }
        return TernaryReport.Layer(
            name: source.name, factors: factors, relativeError: error,
            weightedError: remarks[.weightedError].flatMap(Double.init))
    }

    /// - Throws: `FileError`.
    package func keep(_ layer: TernaryReport.Layer, _ source: Source, _ stage: Stage) throws {
        var remarks: [TernaryFile.Remark: String] = [
            .fingerprint: fingerprint(source), .relativeError: "\(layer.relativeError)",
        ]
        remarks[.weightedError] = layer.weightedError.map { "\($0)" }
        try prepare(stage)
        try TernaryFile.write([source.name: layer.factors], to: file(stage, source.name, "safetensors"), remarks: remarks)
    }

    /// The same as ``layer(_:_:)`` for numbers.
    package func numbers(_ source: Source, _ stage: Stage) -> [Double]? {
        let path = file(stage, source.name, "json")
        guard PathKind(path) == .file, let object = try? InputFile.json(path).object,
            object[Self.fingerprintKey] == .string(fingerprint(source)), let values = object[Self.numbersKey]?.array
        else { return nil }
        let numbers = values.compactMap(\.number)
        return numbers.count == values.count ? numbers : nil
    }

    /// - Throws: `FileError`.
    package func keep(_ numbers: [Double], _ source: Source, _ stage: Stage) throws {
        var object = JSONObject()
        object[Self.fingerprintKey] = .string(fingerprint(source))
        object[Self.numbersKey] = .array(numbers.map(JSONValue.double))
        try prepare(stage)
        try AtomicFile.write(JSONValue.object(object.stamped).text() + "\n", to: file(stage, source.name, "json"))
    }

    private static let (fingerprintKey, numbersKey) = (TernaryFile.Remark.fingerprint.rawValue, "numbers")
}
