internal import HuggingFace
internal import LinearAlgebra
package import Models
internal import Rotation
internal import TensorCore

/// Weights of a folder with R4 taken back out of the down projections (W ← W·Hᵀ): as floats they need nothing at run time.
struct UnrotatedWeights: PackedWeights {
    /// The packed weights; nil where all are floats.
    private let base: (any PackedWeights)?
    private let checkpoint: Checkpoint
    private let transform: HadamardTransform
    /// Names of the weights that contain R4.
    private let rotated: Set<String>

    init(_ folder: ModelFolder) {
        (base, checkpoint) = (folder.packed, folder.checkpoint)
        transform = HadamardTransform(columns: folder.architecture.downWidth)
        rotated = Set(folder.architecture.downProjections.map { $0 + ".weight" })
    }

    var form: String { base?.form ?? "floats" }
    var ternary: Set<String> { base?.ternary ?? [] }
    var integers: Set<String> { base?.integers ?? [] }
    var tables: Set<String> { base?.tables ?? [] }
    var weights: Set<String> { (base?.weights ?? []).union(rotated) }
    var tensors: Set<String> { base?.tensors ?? [] }

    private func isPacked(_ weight: String) -> Bool { base?.weights.contains(weight) == true }

    func byteCount(of weight: String) throws -> Int {
        if let base, isPacked(weight) { return try base.byteCount(of: weight) }
        return try checkpoint.info(weight).byteRange.count
    }

    func read(_ weight: String) throws -> any LinearOperator {
        if let base, isPacked(weight) {
            let packed = try base.read(weight)
            return rotated.contains(weight) ? unrotated(packed.tensor) : packed
        }
        return unrotated(try checkpoint.read(weight))
    }

    private func unrotated(_ matrix: Tensor) -> any LinearOperator {
        var result = matrix
        transform.applyInverse(&result)
        return FloatMatrix(result, as: .float32)
    }
}

extension CompressedFolder {
    /// The model without R4, as floats. It does nothing at run time if R4 was the only thing done there.
    package var unrotated: ModelFolder { execution.r4 ? folder.replacing(UnrotatedWeights(folder)) : folder }
}
