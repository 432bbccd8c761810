internal import Configuration
internal import Support
internal import TensorCore
package import TernarySVD
internal import TransitionBus

/// The layers that a decomposition has finished, a file each in the run's folder, so that a run that was ended in the middle
/// goes on with the others: `decomposition/LAYER.safetensors`, a `TernaryFile` of one layer.
///
/// A layer is taken back, bit for bit, only for the same weight and the same options, seed included: their fingerprint is in
/// the file. Each is written by the rank that has it, and may be read by any, however many there are. Where the run's folder is
/// not shared by the machines, a rank finds no more than its own machine's.
package struct FinishedLayers {
    private static let (fingerprintKey, errorKey) = ("fingerprint", "relative_error")

    private let folder: String
    private let options: TernaryOptions

    /// - Parameter run: the run's folder, which is there when the first layer is ``keep(_:of:name:)``-ed.
    package init(run: String, _ options: TernaryOptions) {
        folder = "\(run)/\(RunFiles.finishedLayers)"
        self.options = options
    }

    private func file(_ name: String) -> String { "\(folder)/\(name).safetensors" }

    /// Of the weight and of all that decides its factors.
    private func fingerprint(_ weight: Tensor) -> String {
        sha256(of: Array("\(options) \(weight.shape)\n".utf8) + stateDigest([weight]))
    }

    /// The layer's decomposition from the file, or by `work`, which is then kept.
    ///
    /// - Throws: what `work` throws; ``FileError`` where the file cannot be written.
    func decomposition(of weight: Tensor, name: String, or work: () throws -> TernaryDecomposition) throws
        -> TernaryDecomposition
    {
        if let kept = finished(weight, name: name) { return kept }
        let result = try work()
        try keep(result, of: weight, name: name)
        return result
    }

    /// nil where there is none, where it is of another weight or other options, and where it cannot be read: it is then made
    /// anew.
    func finished(_ weight: Tensor, name: String) -> TernaryDecomposition? {
        guard PathKind(file(name)) == .file, let metadata = try? TernaryFile.metadata(of: file(name)),
            metadata[Self.fingerprintKey] == fingerprint(weight), let error = metadata[Self.errorKey].flatMap(Float.init),
            let factors = try? TernaryFile.read(file(name))[name], [factors.u.rows, factors.v.columns] == weight.shape
        else { return nil }
        return factors.decomposition(error: error)
    }

    func keep(_ decomposition: TernaryDecomposition, of weight: Tensor, name: String) throws {
        try makeFolder(folder)
        try TernaryFile.write(
            [name: TernaryFactors(decomposition, tolerance: options.tolerance, sparsity: options.sparsity)], to: file(name),
            more: [Self.fingerprintKey: fingerprint(weight), Self.errorKey: "\(decomposition.relativeError)"])
    }

    /// Removes what was kept, once the whole is written.
    package func remove() throws { try removeTree(folder) }
}
