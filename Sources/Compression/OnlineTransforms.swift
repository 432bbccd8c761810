internal import HuggingFace
internal import Models
internal import Rotation
internal import Support
internal import TensorCore

/// The run-time transforms that `transform_config` of compressed-tensors describes: x ↦ x·M/√n on the input of all down
/// projections (R4), with M the Hadamard matrix that this program uses there, or nothing.
///
/// A scheme is a matrix and the places where it is applied. At `weight_input` and `weight_output` it is already merged into the
/// folder's weights. At `input` it is computed for every token. Every other place and every other matrix is refused.
struct OnlineTransforms {
    static let key = "transform_config"
    /// The place of R4.
    static let input = "input"

    /// How a scheme's matrix is made.
    enum Matrix: String, CaseIterable {
        /// Sylvester's, of a power of two.
        case hadamard
        /// Stored: M = `MODULE.SCHEME_LOCATION.weight` of ±1, with one of the modules that it is applied to.
        case stored = "random-hadamard"
        case random = "random-matrix"
    }

    private(set) var r4 = false
    /// The checkpoint's tensors that M is stored in.
    private(set) var tensors: Set<String> = []

    private let checkpoint: Checkpoint
    private let architecture: Architecture
    private var budget = LayerTarget.budget

    /// - Parameter keys: the keys of `transform_config`; nil where it is absent or empty.
    /// - Throws: ``FileError`` naming the key or tensor that this program does not know or would compute differently.
    init(_ keys: HFConfig?, _ checkpoint: Checkpoint, _ architecture: Architecture) throws(FileError) {
        (self.checkpoint, self.architecture) = (checkpoint, architecture)
        guard let keys else { return }
        try keys.allow(["config_groups"])
        let schemes = try keys.required("config_groups")
        for name in schemes.json.keys { try add(name, try schemes.required(name)) }
    }

    private mutating func add(_ name: String, _ scheme: HFConfig) throws(FileError) {
        try scheme.allow(["type", "apply", "randomize", "requires_grad", "head_dim", "precision"])
        guard let matrix = Matrix(rawValue: try scheme.string("type")) else {
            throw scheme.failure(
                "type",
                "'\(try scheme.string("type"))' is not supported; supported are "
                    + Matrix.allCases.map(\.rawValue).joined(separator: ", "))
        }
        for entry in try scheme.objects("apply") {
            try entry.allow(["targets", "location", "inverse", "ignore"])
            let location = try entry.string("location")
            switch location {
            case "weight_input", "weight_output": break
            case Self.input:
                try checkMatrix(scheme, matrix)
                try checkTargets(entry)
                guard !r4 else { throw entry.failure("location", "is \(location) in two entries; this program supports one") }
                r4 = true
                try addTensors(name, matrix, isInverse: try entry.bool("inverse", default: false))
            default:
                throw entry.failure(
                    "location", "'\(location)' is not supported; this program rotates the \(Self.input) of down projections")
            }
        }
    }

    /// This program's transform.
    private var transform: HadamardTransform { HadamardTransform(columns: architecture.downWidth) }

    /// - Throws: where the matrix is not this program's R4.
    private func checkMatrix(_ scheme: HFConfig, _ matrix: Matrix) throws(FileError) {
        guard matrix != .random else {
            throw scheme.failure(
                "type", "\(matrix.rawValue) is not supported at run time; this program has Hadamard matrices")
        }
        for key in ["randomize", "requires_grad"] where try scheme.bool(key, default: false) {
            throw scheme.failure(key, "is true; this program has fixed matrices")
        }
        let types = ["float32", "float64", "bfloat16", "float16"]
        let precision = try scheme.string("precision", default: types[0])
        guard types.contains(where: { precision == $0 || precision == "torch.\($0)" }) else {
            throw scheme.failure("precision", "'\(precision)' is not supported; supported are \(types.joined(separator: ", "))")
        }
        guard architecture.downWidth > 0 else { throw scheme.failure("apply", "names an input that the model does not have") }
        let block = transform.block
        let size = scheme.has("head_dim") ? try scheme.extent("head_dim") : architecture.downWidth
        guard size == block.order else {
            throw scheme.failure(
                "head_dim",
                "is \(size), but this program rotates blocks of \(block.order) of the "
                    + "\(architecture.downWidth) inputs of a down projection")
        }
        guard matrix != .hadamard || block.factor == 1 else {
            throw scheme.failure(
                "type", "\(matrix.rawValue) is for powers of two; \(size) values need \(Matrix.stored.rawValue)")
        }
    }

    /// - Throws: where an entry applies to modules other than the down projections.
    private mutating func checkTargets(_ entry: HFConfig) throws(FileError) {
        let (modules, downs) = (architecture.modules, Set(architecture.downProjections))
        let targets = try LayerTarget.list(entry, "targets", &budget)
        let ignored = try LayerTarget.list(entry, "ignore", &budget)
        if let unknown = targets.first(where: { $0.kind == .name && modules[$0.text] == nil }) {
            throw entry.failure("targets", "'\(unknown.text)' is not a layer of the model")
        }
        let named = Set(
            modules.filter { module in
                targets.contains { $0.matches(module.key, module.value) }
                    && !ignored.contains { $0.matches(module.key, module.value) }
            }.keys)
        if let other = named.subtracting(downs).sorted().first {
            throw entry.failure("targets", "include \(other), whose input this program does not rotate")
        }
        if let missing = architecture.downProjections.first(where: { !named.contains($0) }) {
            throw entry.failure(
                "targets", "leave out \(missing); this program rotates the inputs of all down projections or of none")
        }
    }

    /// - Throws: where the stored matrix is missing, or is not this program's.
    private mutating func addTensors(_ scheme: String, _ matrix: Matrix, isInverse: Bool) throws(FileError) {
        let names = architecture.downProjections.map { Self.tensor(of: $0, scheme) }
        let found = names.filter(checkpoint.contains)
        guard !found.isEmpty || matrix == .hadamard else {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(names.first ?? scheme)",
                "is missing, but \(OnlineTransforms.key) says that the matrix \(scheme) is stored")
        }
        for name in found { try check(name, isInverse: isInverse) }
        tensors.formUnion(found)
    }

    static func tensor(of module: String, _ scheme: String) -> String { "\(module).\(scheme)_\(input).weight" }

    private func check(_ name: String, isInverse: Bool) throws(FileError) {
        let rotation = SignMatrix(order: transform.block.order)
        let (info, shape) = (try checkpoint.info(name), [rotation.order, rotation.order])
        guard info.type.isFloat, info.shape == shape else {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(name)",
                "is \(info.type.rawValue) \(info.shape), not floats \(shape)")
        }
        for rows in rotation.parts {
            let (found, expected) = (try checkpoint.read(name, rows: rows), rotation.signs(rows, transposed: isInverse))
            guard let index = (0..<expected.count).first(where: { found[flat: $0] != expected[flat: $0] }) else { continue }
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(name)",
                "differs from this program's Hadamard matrix of order \(rotation.order), beginning with row "
                    + "\(rows.lowerBound + index / rotation.order)")
        }
    }
}

/// M = Hᵀ of ±1, so that x·M/√n = H·x/√n is a block of ``HadamardTransform``; made some rows at a time.
struct SignMatrix {
    let order: Int

    /// The groups of rows that are made together.
    var parts: [Range<Int>] {
        let step = max(1, (1 << 20) / order)
        return stride(from: 0, to: order, by: step).map { $0..<min($0 + step, order) }
    }

    /// Rows of M, or of its transpose.
    func signs(_ rows: Range<Int>, transposed: Bool = false) -> Tensor {
        var result = Tensor(zeros: [rows.count, order])
        for (index, row) in rows.enumerated() { result[index, row] = 1 }
        let transform = HadamardTransform(columns: order)
        if transposed { transform.applyInverse(&result) } else { transform.apply(&result) }
        return Tensor(result.elements.map { $0 < 0 ? -1 : 1 }, result.shape)
    }
}

extension HFConfig {
    /// The objects of a list; empty where the key is absent.
    ///
    /// - Throws: ``FileError`` naming the key where it is anything else.
    func objects(_ key: String) throws(FileError) -> [HFConfig] {
        guard let value = value(key) else { return [] }
        guard let list = value.array, list.allSatisfy({ $0.object != nil }) else {
            throw failure(key, "is not a list of objects")
        }
        return list.enumerated().compactMap { index, entry in
            entry.object.map { HFConfig($0, path: "\(path): \(key)[\(index)]") }
        }
    }
}

extension Architecture {
    /// The class of each of the model's modules by name, containers included.
    var modules: [String: LayerTarget.ModuleClass] {
        var result: [String: LayerTarget.ModuleClass] = [:]
        for (name, spec) in parameters().named {
            var parts = name.split(separator: ".").dropLast()
            if [.embedding, .positions].contains(spec.role) { result[parts.joined(separator: ".")] = .embedding }
            while !parts.isEmpty {
                let module = parts.joined(separator: ".")
                result[module] = result[module] ?? .other
                parts = parts.dropLast()
            }
        }
        for name in linears.map(\.name) + [head.layerName] { result[name] = .linear }
        return result
    }

    /// Linear layers that read the inner values of feed-forward networks, block by block.
    var downProjections: [String] {
        blocks.flatMap { block in
            block.linears.filter { $0.ports.reads == .downInput }.map { block.prefix + $0.spec.layerName }
        }
    }
}
