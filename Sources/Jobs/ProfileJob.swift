package import Collectives
internal import Compression
package import Configuration
internal import EmbeddedModel
internal import Exports
internal import Glibc
internal import Models
package import Runs
internal import Support
internal import TensorCore
internal import TernarySVD
internal import Trainer

/// Prints the operations of each linear layer per token: for a run folder with ternary factors, dense and ternary; for a model
/// folder, dense, with the number of components at which a ternary form breaks even.
package struct ProfileJob {
    private let folder: String?

    /// - Parameter folder: nil for the model of `model.path`.
    package init(_ folder: String?) { self.folder = folder }

    /// Prints the operations of each layer per token; writes nothing.
    package func run(_ config: RunConfig, _ world: some Communicator, _ reporter: Reporter) throws {
        let text = try world.fromRoot { try describe(config) }
        reporter.note(text)
    }

    private func describe(_ config: RunConfig) throws -> String {
        let path = try EmbeddedModel.resolve(folder ?? config.model.path).withoutEndingSlashes
        let file = "\(path)/\(RunFiles.factors)"
        let factors = access(file, F_OK) == 0 ? try TernaryFile.read(file) : try binaryFactors(path)
        guard !factors.isEmpty else {
            let weights = try weights(path)
            let zeros = (100 * normalProjectionSparsity(threshold: config.ternary.threshold)).formatted(decimals: 0)
            let note =
                "per token; a ternary form pays below the break-even number of components, for 8-bit operands and \(zeros) % "
                + "of zeros in U and V, as of "
                + "normal weights at ternary.threshold \(config.ternary.threshold)"
            return LayerProfile(weights, threshold: config.ternary.threshold).table.text + "\n\n"
                + note.wrapped(indent: 0).joined(separator: "\n")
        }
        let weights = try weights(path)
        try factors.check(against: weights.linears, file: file)
        let profile = LayerProfile(weights, factors, threshold: config.ternary.threshold)
        let cost = TernaryReport.cost(ternary: profile.ternary, dense: profile.dense).wrapped(indent: 0)
        return profile.table.text + "\n\n" + cost.joined(separator: "\n")
    }

    /// The binary factors of a model's folder that another program has factorized; empty for any other folder.
    private func binaryFactors(_ path: String) throws -> [String: TernaryFactors] {
        guard PathKind(path + "/config.json") != .absent else { return [:] }
        let folder = try CompressedFolder(path).folder
        guard CompressedFolder.isBinary(folder), let packed = folder.packed else { return [:] }
        return Dictionary(
            uniqueKeysWithValues: try packed.weights.compactMap { weight -> (String, TernaryFactors)? in
                guard let factors = try packed.read(weight) as? TernaryFactors else { return nil }
                return (String(weight.dropLast(".weight".count)), factors)
            })
    }

    /// The weights of a folder or of a GGUF file; nothing is written.
    private func weights(_ path: String) throws -> ModelWeights<Tensor> {
        let path = try GivenPath.model(path)
        return ModelWeights(try GGUFImport.parameters(of: path) ?? CompressedFolder(path).folder.parameters())
    }
}
