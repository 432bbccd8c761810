internal import HuggingFace
internal import Models
internal import Support
internal import TensorCore
internal import TernarySVD

/// Linears that NanoQuant has factorized, W ≈ diag(post)·U·diag(mid)·V·diag(pre) with U and V of −1 and 1
/// ([arXiv 2602.06694](https://arxiv.org/abs/2602.06694)): ternary factors without zeros. With `scale_mid` it is a double
/// binary factorization ([arXiv 2505.11076](https://arxiv.org/abs/2505.11076)).
///
/// A linear NAME `[m, n]` of rank k lies in the checkpoint as
///
///     NAME.U_packed    I32 [m, ⌈k/32⌉]    a bit for each entry, the lowest first, set where it is −1; 0 beyond a row's end
///     NAME.V_packed    I32 [k, ⌈n/32⌉]    likewise
///     NAME.U_shape     I64 [2]            m, k, and NAME.V_shape I64 [2]: k, n
///     NAME.scale_post  [1, m]             and NAME.scale_pre [1, n]
///     NAME.scale_mid   [1, k]             optional; 1 without
struct BinaryFactors: PackedWeights {
    /// The file that NanoQuant writes beside config.json, where other folders have a member of it.
    private static let marker = "nanoquant_config.json"
    private static let (left, right) = (".U", ".V")
    private static let (words, shape) = ("_packed", "_shape")
    private static let (pre, mid, post) = (".scale_pre", ".scale_mid", ".scale_post")

    private let checkpoint: Checkpoint
    /// Names of the linears, and their shapes.
    private let linears: [String: [Int]]

    static func isThere(_ folder: String) -> Bool { PathKind("\(folder)/\(marker)") != .absent }

    /// - Returns: nil where the folder is not NanoQuant's, or holds only floats.
    /// - Throws: `FileError` where one of these tensors is missing or has another shape.
    init?(_ checkpoint: Checkpoint, _ config: HFConfig, _ architecture: Architecture) throws(FileError) {
        guard Self.isThere(checkpoint.folder) else { return nil }
        if config.has("quantization_config") {
            throw config.failure(
                "quantization_config",
                "is present as well as \(Self.marker); the folder describes its weights twice, remove one of them")
        }
        let factors = CompressedWeights.factorFile(checkpoint.folder)
        guard PathKind(factors) == .absent else {
            throw FileError(
                .malformed, factors,
                "is present as well as \(Self.marker); the folder describes its weights twice, remove one of them")
        }
        self.checkpoint = checkpoint
        var linears: [String: [Int]] = [:]
        for linear in architecture.linears where checkpoint.contains(linear.name + Self.left + Self.words) {
            linears[linear.name] = linear.shape
        }
        guard !linears.isEmpty else { return nil }
        self.linears = linears
        for name in linears.keys.sorted() { _ = try rank(of: name) }
    }

    var form: String { "binary factors (\(linears.count) linears)" }
    var ternary: Set<String> { Set(linears.keys) }
    var integers: Set<String> { [] }
    var tables: Set<String> { [] }
    var weights: Set<String> { Set(linears.keys.map { $0 + ".weight" }) }
    var tensors: Set<String> { Set(linears.keys.flatMap(names)) }

    func byteCount(of weight: String) throws -> Int {
        try names(name(of: weight)).reduce(0) { $0 + (try checkpoint.info($1).byteRange.count) }
    }

    /// - Throws: `FileError` for a bit beyond a row's end.
    func read(_ weight: String) throws -> any LinearOperator {
        let name = name(of: weight)
        guard let shape = linears[name] else { preconditionFailure("\(weight) is not packed") }
        let rank = try rank(of: name)
        let s =
            try checkpoint.contains(name + Self.mid)
            ? checkpoint.read(name + Self.mid).elements : [Float](repeating: 1, count: rank)
        return TernaryFactors(
            u: try signs(name + Self.left, shape[0], rank), s: s, v: try signs(name + Self.right, rank, shape[1]),
            balance: Balance(
                a: try checkpoint.read(name + Self.post).elements, b: try checkpoint.read(name + Self.pre).elements),
            tolerance: Self.tolerance)
    }

    /// Factors of a given rank have no tolerance; their file accepts any number between 0 and 1.
    private static let tolerance: Float = 0.5

    private func name(of weight: String) -> String { String(weight.dropLast(".weight".count)) }

    /// The tensors that hold a linear.
    private func names(_ name: String) -> [String] {
        [Self.left, Self.right].flatMap { [name + $0 + Self.words, name + $0 + Self.shape] }
            + [Self.pre, Self.mid, Self.post].map { name + $0 }.filter { $0 != name + Self.mid || checkpoint.contains($0) }
    }

    /// The rank of a linear, after all of its tensors have been checked.
    private func rank(of name: String) throws(FileError) -> Int {
        let shape = linears[name] ?? []
        func check(_ tensor: String, _ types: [ElementType], _ shape: [Int]) throws(FileError) {
            let info = try checkpoint.info(name + tensor)
            guard types.contains(info.type), info.shape == shape else {
                throw FileError(
                    .malformed, "\(checkpoint.folder): tensor \(name + tensor)",
                    "is \(info.type.rawValue) \(info.shape), not \(types.map(\.rawValue).joined(separator: " or ")) \(shape)")
            }
        }
        try check(Self.right + Self.shape, [.i64], [2])
        let said = try checkpoint.file(of: name + Self.right + Self.shape).readInts(name + Self.right + Self.shape)
        guard said[1] == shape[1], (1...1 << 24).contains(said[0]) else {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(name + Self.right + Self.shape)",
                "is \(said); config.json says that the linear has \(shape[1]) inputs")
        }
        let (rank, floats) = (said[0], [ElementType.bf16, .f16, .f32])
        try check(Self.left + Self.shape, [.i64], [2])
        let left = try checkpoint.file(of: name + Self.left + Self.shape).readInts(name + Self.left + Self.shape)
        guard left == [shape[0], rank] else {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(name + Self.left + Self.shape)",
                "is \(left), not \([shape[0], rank])")
        }
        try check(Self.left + Self.words, [.i32], [shape[0], PackedIntegers.words(rank, bits: 1)])
        try check(Self.right + Self.words, [.i32], [rank, PackedIntegers.words(shape[1], bits: 1)])
        try check(Self.post, floats, [1, shape[0]])
        try check(Self.pre, floats, [1, shape[1]])
        if checkpoint.contains(name + Self.mid) { try check(Self.mid, floats, [1, rank]) }
        return rank
    }

    private func signs(_ factor: String, _ rows: Int, _ columns: Int) throws(FileError) -> PackedTernary {
        let bytes = try checkpoint.file(of: factor + Self.words).readBytes(factor + Self.words)
        let bits = PackedIntegers.unpack(bytes, rows: rows, columns: columns, bits: 1)
        guard PackedIntegers.pack(bits, columns: columns, bits: 1) == bytes else {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(factor + Self.words)",
                "has bits beyond the \(columns) entries of a row")
        }
        return PackedTernary(Tensor(bits.map { $0 == 0 ? 1 : -1 }, [rows, columns]))
    }
}
