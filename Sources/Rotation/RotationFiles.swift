internal import HuggingFace
package import Support
package import TensorCore

extension Rotations {
    /// The names of a run's rotations: with metadata, and as SpinQuant writes them by `torch.save`.
    package static let fileName = "rotations.safetensors", archiveName = "R.bin"

    /// The rotations by SpinQuant's names: `R1`, `model.layers.{i}.self_attn.R2`.
    package var named: [(name: String, tensor: Tensor)] {
        (r1.map { [("R1", $0)] } ?? []) + (r2 ?? []).enumerated().map { (Self.r2Name($0.offset), $0.element) }
    }

    /// The same rotations with each replaced; `transform` gets its name.
    package func mapNamed(_ transform: (String, Tensor) throws -> Tensor) rethrows -> Rotations {
        var result = self
        if let r1 { result.r1 = try transform("R1", r1) }
        if let r2 { result.r2 = try r2.enumerated().map { try transform(Self.r2Name($0.offset), $0.element) } }
        return result
    }

    private static func r2Name(_ layer: Int) -> String { "model.layers.\(layer).self_attn.R2" }

    /// Largest deviation from RᵀR = I that a rotation read from a file may have.
    private static let orthogonalityTolerance: Float = 1e-4

    /// Writes `rotations.safetensors`; `metadata` describes the model and settings that the rotations were learned for.
    package func write(to path: String, metadata: [String: String]) throws {
        try SafetensorsFile.write(named.map { TensorSource($0.name, $0.tensor) }, to: path, metadata: metadata)
    }

    /// Writes the file that `torch.save` would make of SpinQuant's rotations.
    package func writeTorchArchive(to path: String, called name: String? = nil) throws {
        try TorchArchive.write(named, to: path, called: name)
    }

    /// The metadata of `rotations.safetensors`; empty for an `R.bin`, which has none.
    package static func metadata(of path: String) throws(FileError) -> [String: String] {
        path.hasSuffix(".safetensors") ? try SafetensorsFile(path).metadata : [:]
    }

    /// Reads `rotations.safetensors` or an `R.bin`.
    ///
    /// - Throws: ``FileError`` where a rotation is missing, of another size, not finite, or not orthogonal
    ///   (max|RᵀR − I| > 1e-4).
    package init(contentsOf path: String, hidden: Int, head: Int, layers: Int) throws(FileError) {
        let read: (String) throws(FileError) -> Tensor
        let names: [String]
        if path.hasSuffix(".safetensors") {
            let file = try SafetensorsFile(path)
            (names, read) = (file.names, { name throws(FileError) in try file.readFloat(name, finite: true) })
        } else {
            let archive = try TorchArchive(path)
            (names, read) = (archive.names, { name throws(FileError) in try archive.read(name) })
        }
        func rotation(_ name: String, _ n: Int) throws(FileError) -> Tensor {
            let place = "\(path): rotation \(name)"
            let r = try read(name)
            guard r.shape == [n, n] else {
                throw FileError(.malformed, place, "has shape \(r.shape); the model needs [\(n), \(n)]")
            }
            guard r.isFinite else { throw FileError(.malformed, place, "holds NaN or infinity") }
            let error = orthogonalityError(r)
            guard error <= Self.orthogonalityTolerance else {
                throw FileError(
                    .malformed, place, "is not orthogonal: max|RᵀR − I| = \(error), above \(Self.orthogonalityTolerance)")
            }
            return r
        }
        let expected = ["R1"] + (0..<layers).map(Self.r2Name)
        if let unexpected = names.first(where: { !expected.contains($0) }) {
            throw FileError(.malformed, "\(path): \(unexpected)", "is not a rotation of a model with \(layers) layers")
        }
        guard !names.isEmpty else {
            throw FileError(.malformed, path, "holds no rotation; give the rotations.safetensors or R.bin of a run")
        }
        r1 = names.contains("R1") ? try rotation("R1", hidden) : nil
        let layersWithR2 = (0..<layers).filter { names.contains(Self.r2Name($0)) }
        guard let first = layersWithR2.first else {
            r2 = nil
            return
        }
        if let absent = (0..<layers).first(where: { !names.contains(Self.r2Name($0)) }) {
            throw FileError(
                .malformed, "\(path): rotation \(Self.r2Name(absent))",
                "tensor \(Self.r2Name(absent)) is missing, and layer \(first) has one: R2 is of all layers or of none")
        }
        var heads: [Tensor] = []
        for layer in 0..<layers { heads.append(try rotation(Self.r2Name(layer), head)) }
        r2 = heads
    }
}
