package import HuggingFace
package import Models
internal import Quantization
internal import Support
package import TensorCore
internal import TernarySVD

/// The packed linears of a folder: integers in the checkpoint (also of embedding and head), and ternary factors in a file
/// beside it.
package struct CompressedWeights: PackedWeights {
    private enum Place {
        case integer(QuantizerSpec, WeightPacking.Layout, shape: [Int])
        case ternary(TernaryFile.Layer)
    }

    /// By the linear's name.
    private let places: [String: Place]
    private let checkpoint: Checkpoint
    package let ternary: Set<String>
    package let integers: Set<String>
    package let tables: Set<String>
    /// How activations are rounded and rotated, by `quantization_config`.
    let execution: Execution
    /// Whether only this program can run the folder.
    let isOwn: Bool
    package let warnings: [String]
    /// The checkpoint's tensors that rotations are stored in.
    let transformTensors: Set<String>

    private static let suffix = ".weight"

    /// - Returns: nil where config.json declares no packed weights.
    /// - Throws: ``FileError``, ``TernaryError`` where the files and config.json disagree, or for what this program does not
    ///   know.
    package init?(_ checkpoint: Checkpoint, _ config: HFConfig, _ architecture: Architecture) throws {
        let tables = Set(architecture.tables.map(\.name))
        guard let packing = try WeightPacking(config, tables: tables, linears: architecture.linears.map(\.name)) else {
            return nil
        }
        let transforms = try OnlineTransforms(packing.transforms, checkpoint, architecture)
        var execution = packing.execution
        execution.r4 = transforms.r4
        (self.checkpoint, self.execution, isOwn) = (checkpoint, execution, packing.isOwn)
        (transformTensors, warnings) = (transforms.tensors, packing.warnings)
        var places: [String: Place] = [:]
        let (file, embedding) = (Self.factorFile(checkpoint.folder), architecture.embedding?.layerName)
        let factors = packing.hasFactors ? try TernaryFile.layers(of: file) : [:]
        if packing.hasFactors, try !TernaryFile.origin(of: file).targets.contains(checkpoint.digest()) {
            throw TernaryError(
                .data, "\(file): belongs to other weights than those in its folder; give the folder it was written in")
        }
        for linear in architecture.linears + architecture.tables {
            if let layer = factors[linear.name] {
                guard layer.shape == linear.shape else {
                    throw TernaryError(
                        .data, "\(file): layer \(linear.name) has shape \(layer.shape); config.json says \(linear.shape)")
                }
                guard !checkpoint.contains(linear.name + Self.suffix) else {
                    throw TernaryError(
                        .data,
                        "\(file): layer \(linear.name) has factors here and a weight in the checkpoint; remove one of them")
                }
                places[linear.name] = .ternary(layer)
            } else if let layout = try WeightPacking.Layout.allCases.first(where: {
                try IntegerTensors.isThere(linear.name, $0, in: checkpoint)
            }) {
                let spec = try packing.spec(of: linear, linear.name == embedding ? .embedding : .linear, layout, config)
                places[linear.name] = .integer(spec, layout, shape: linear.shape)
            } else if checkpoint.contains(linear.name + Self.suffix), checkpoint.contains(linear.name + IntegerTensors.scale) {
                throw FileError(
                    .malformed, "\(checkpoint.folder): tensor \(linear.name)\(Self.suffix)",
                    "holds floats that must be rounded with \(linear.name)\(IntegerTensors.scale) when they are used, which "
                        + "this program does not do; save the model compressed, or give the folder it was made from")
            }
        }
        if let stray = factors.keys.sorted().first(where: { places[$0] == nil }) {
            throw TernaryError(
                .data, "\(Self.factorFile(checkpoint.folder)): layer \(stray) is not a linear layer of the model")
        }
        // This program's own folders say in a member of their own which inputs are rounded.
        if packing.execution.activationBits < 16, !config.has(PackedModelType.key),
            let float = architecture.linears.first(where: { places[$0.name] == nil })
        {
            throw config.failure(
                WeightPacking.key,
                "quantizes the inputs of some linear layers, but not those of \(float.name), which is not packed; "
                    + "this program needs all of them quantized, or none")
        }
        self.places = places
        ternary = Set(places.filter { if case .ternary = $0.value { true } else { false } }.keys)
        self.tables = tables.intersection(places.keys)
        integers = Set(places.keys).subtracting(ternary).subtracting(tables)
    }

    static func factorFile(_ folder: String) -> String { "\(folder)/\(CompressedFolder.factorFileName)" }

    package var form: String { PackedForm.text(ternary: ternary.count, integers: integers.count, tables: tables) }

    /// Why other programs that read compressed-tensors cannot read these weights, and what to do instead; nil where they can.
    ///
    /// - Throws: ``FileError``.
    func obstacle(_ architecture: Architecture, _ execution: Execution) throws(FileError) -> String? {
        var embedding: SharedForm.Embedding?
        for name in places.keys.sorted() {
            guard case .integer(let spec, let layout, _) = places[name] else { continue }
            let zero = name + IntegerTensors.zero
            if checkpoint.contains(zero), try checkpoint.info(zero).type == .f32 {
                return "zero points of \(name) are outside the codes; quantize with quantization.weights.symmetric=true or in "
                    + "larger groups"
            }
            if name == architecture.embedding?.layerName {
                embedding = SharedForm.Embedding(bits: spec.bits, isPacked: layout == .packed, isHead: architecture.tiesHead)
            }
        }
        let float = architecture.linears.first { places[$0.name] == nil }
        return SharedForm.obstacle(embedding, float: float?.name, execution)
    }

    package var weights: Set<String> { Set(places.keys.map { $0 + Self.suffix }) }

    package var tensors: Set<String> {
        var names = transformTensors
        for case (let name, .integer(_, let layout, _)) in places {
            names.formUnion(IntegerTensors.names(name, layout, in: checkpoint))
        }
        return names
    }

    /// Bytes of this linear's codes, scales and zero points, or of its factors, as `ModelSizes` counts them for a linear that
    /// is still to be packed. - Precondition: it is packed.
    package func byteCount(of weight: String) throws -> Int {
        let name = String(weight.dropLast(Self.suffix.count))
        switch places[name] {
        case .ternary(let layer): return layer.byteCount
        case .integer(_, let layout, _):
            let numbers = IntegerTensors.names(name, layout, in: checkpoint).filter { $0 != name + IntegerTensors.shape }
            return try numbers.reduce(0) { $0 + (try checkpoint.info($1).byteRange.count) }
        case nil: preconditionFailure("\(weight) is not packed")
        }
    }

    /// The packed form: ``QuantizedWeight`` or ``TernaryFactors``.
    ///
    /// - Throws: `FileError`, `TernaryError` for a damaged file.
    /// - Precondition: the weight is packed.
    package func read(_ weight: String) throws -> any LinearOperator {
        let name = String(weight.dropLast(Self.suffix.count))
        switch places[name] {
        case .ternary: return try TernaryFile.layer(name, of: Self.factorFile(checkpoint.folder))
        case .integer(let spec, let layout, let shape):
            return try IntegerTensors.read(name, shape, spec, layout, from: checkpoint)
        case nil: preconditionFailure("\(weight) is not packed")
        }
    }
}
