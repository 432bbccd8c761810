internal import HuggingFace
internal import Support
internal import TensorCore

/// Packed layers on disk: a safetensors file.
///
/// For each layer NAME a tensor `NAME.code` U8, all its factors as ``TernaryCode``.
///
/// Metadata: `format` is `sq-train.ternary`, `version` is `5`, and per layer `NAME.shape` is `m,k,n`, `NAME.form` (`linear`, or
/// a convolution's form), `NAME.tolerance` and `NAME.sha256`. The last is, in hexadecimal, of these three texts, each with a
/// line feed after it, and of the bytes of the tensor. Nearly every code is valid for some matrix, so that nothing else would
/// show a changed bit. The reader refuses everything else.
///
/// Files of version 4 hold plain tensors instead, and are read, too; so is version 3, which lacks `metadata_sha256`:
///
///     NAME.u  U8  [⌈m·k/8⌉ + ⌈z/8⌉]   U, as ``PackedTernary/bytes`` with z non-zeros
///     NAME.s  F32 [k]
///     NAME.v  U8  [⌈k·n/8⌉ + ⌈z/8⌉]   V, likewise
///     NAME.a  F32 [m]                 and NAME.b F32 [n], where the layer is balanced: both or neither
///
/// Their `NAME.sha256` is of the texts and the bytes of u, s, v and, where present, a and b.
///
/// Optional, see ``Origin``: `source_model_sha256`, one digest, and `target_model_sha256`, one or more divided by commas.
/// `metadata_sha256` is of all other metadata, a line `key=value` each, sorted.
///
/// A file with layers that satisfy 2:4 has version 6 and, for each of these, `NAME.sparsity` = `2:4`, a fourth text of
/// `NAME.sha256`.
package enum TernaryFile {
    static let format = "sq-train.ternary"
    static let version = "5"
    /// With sparse layers.
    private static let sparseVersion = "6"
    /// Before factors were coded, and before the metadata had a digest.
    private static let (plainVersion, unsealedVersion) = ("4", "3")
    private static let sealKey = "metadata_sha256"

    /// The digest of all metadata but itself.
    static func seal(_ metadata: [String: String]) -> String {
        let lines = metadata.filter { $0.key != sealKey }.map { "\($0.key)=\($0.value)\n" }.sorted()
        return sha256(of: lines.flatMap { Array($0.utf8) })
    }

    /// The models that factors belong to, by the SHA-256 of their tensors in hexadecimal digits (`Checkpoint.digest`).
    package struct Origin: Sendable, Equatable {
        /// The model the factors were made from.
        package var source: String?
        /// The models whose other weights belong to the factors. In any of them the factors give the scores that they had when
        /// they were made. Empty where the file does not say.
        package var targets: [String]

        package init(source: String? = nil, targets: [String] = []) { (self.source, self.targets) = (source, targets) }

        fileprivate static let (sourceKey, targetKey) = ("source_model_sha256", "target_model_sha256")

        fileprivate init(_ metadata: [String: String], path: String) throws(TernaryError) {
            source = metadata[Self.sourceKey]
            targets = (metadata[Self.targetKey] ?? "").split(separator: ",").map(String.init)
            for digest in [source].compactMap(\.self) + targets where digest.count != 64 || !digest.allSatisfy(\.isHexDigit) {
                throw TernaryError(.data, "\(path): '\(digest)' in the metadata is not the SHA-256 of a model")
            }
        }

        fileprivate var metadata: [String: String] {
            var result: [String: String] = [:]
            result[Self.sourceKey] = source
            if !targets.isEmpty { result[Self.targetKey] = targets.joined(separator: ",") }
            return result
        }
    }

    /// Additional metadata in the file of a layer that a run keeps.
    package enum Remark: String, CaseIterable, Sendable {
        /// A digest of everything that determines the layer's factors.
        case fingerprint
        /// The layer's errors, of its weight and of its outputs.
        case relativeError = "relative_error", weightedError = "weighted_error"
    }

    /// The models named in the metadata, without reading the factors.
    ///
    /// - Throws: as ``read(_:)``.
    package static func origin(of path: String) throws -> Origin { try Origin(try opened(path).metadata, path: path) }

    /// Writes layers by name, atomically.
    ///
    /// - Parameter remarks: additional metadata of the caller.
    package static func write(
        _ layers: [String: TernaryFactors], to path: String, origin: Origin = Origin(), remarks: [Remark: String] = [:]
    ) throws {
        var metadata = origin.metadata
        for (remark, text) in remarks { metadata[remark.rawValue] = text }
        let isSparse = layers.values.contains { $0.sparsity != .none }
        (metadata["format"], metadata["version"]) = (format, isSparse ? sparseVersion : version)
        metadata.merge(ProgramVersion.metadata) { $1 }
        var sources: [TensorSource] = []
        for (name, layer) in layers.sorted(by: { $0.key < $1.key }) {
            var texts = ["\(layer.u.rows),\(layer.componentCount),\(layer.v.columns)", layer.form, "\(layer.tolerance)"]
            if layer.sparsity != .none { texts.append(layer.sparsity.rawValue) }
            let code = TernaryCode.encode(layer)
            for (key, text) in zip(described, texts) { metadata["\(name).\(key)"] = text }
            metadata["\(name).sha256"] = digest(texts, [code])
            sources.append(TensorSource("\(name).code", .u8, [code.count]) { .bytes(code) })
        }
        metadata[sealKey] = seal(metadata)
        try SafetensorsFile.write(sources, to: path, metadata: metadata)
    }

    /// Suffixes of a layer's tensors, in all versions.
    private static let suffixes = ["code", "u", "s", "v", "a", "b"]
    /// Metadata keys of a layer, besides its digest; the last one only for sparse layers.
    private static let described = ["shape", "form", "tolerance", sparsityKey]
    private static let sparsityKey = "sparsity"

    static func digest(_ texts: [String], _ tensors: [[UInt8]]) -> String {
        sha256(of: texts.flatMap { Array("\($0)\n".utf8) } + tensors.joined())
    }

    /// Opens the file, after checking that it is a file of packed layers that this program reads.
    private static func opened(_ path: String) throws -> SafetensorsFile {
        let file = try SafetensorsFile(path)
        guard file.metadata["format"] == format else {
            throw TernaryError(
                .data, "\(path): metadata `format` is not \(format); this is not a file of packed ternary layers")
        }
        let found = file.metadata["version"] ?? "missing"
        guard [sparseVersion, version, plainVersion, unsealedVersion].contains(found) else {
            throw TernaryError(
                .data,
                "\(path): version \(found) of packed ternary layers; this program reads \(unsealedVersion) to \(sparseVersion)")
        }
        guard found == unsealedVersion || file.metadata[sealKey] == seal(file.metadata) else {
            throw TernaryError(.data, "\(path): the metadata do not match their SHA-256; the file is damaged or was edited")
        }
        if isCoded(file) { try checkKeys(of: file) }
        return file
    }

    private static let fileKeys = Set(
        ["format", "version", ProgramVersion.key, sealKey, Origin.sourceKey, Origin.targetKey] + Remark.allCases.map(\.rawValue)
    )

    /// Checks that the metadata has only known keys, and that the version fits the layers.
    private static func checkKeys(of file: SafetensorsFile) throws(TernaryError) {
        let names = names(in: file)
        let layerKeys = names.flatMap { name in (described + ["sha256"]).map { "\(name).\($0)" } }
        if let unknown = Set(file.metadata.keys).subtracting(fileKeys).subtracting(layerKeys).min() {
            throw TernaryError(.data, "\(file.path): metadata `\(unknown.prefix(100))` is unknown to this program")
        }
        guard
            file.metadata["version"] != sparseVersion
                || names.contains(where: {
                    file.metadata["\($0).\(sparsityKey)"] != nil
                })
        else {
            let problem = "version \(sparseVersion) is for layers with `\(sparsityKey)`, but none has it"
            throw TernaryError(.data, "\(file.path): \(problem)")
        }
    }

    /// The additional metadata of a file.
    package static func remarks(of path: String) throws -> [Remark: String] {
        let metadata = try opened(path).metadata
        return Dictionary(
            uniqueKeysWithValues: Remark.allCases.compactMap { remark in metadata[remark.rawValue].map { (remark, $0) } })
    }

    /// Shape and size of a layer in a file.
    package struct Layer: Sendable {
        /// `[m, n]`.
        package let shape: [Int]
        /// Bytes of its tensors and of its share of the header; over all layers these add up to the whole file.
        package let byteCount: Int
    }

    /// The layers of a file by name; no factors are read.
    ///
    /// - Throws: as ``read(_:)``.
    package static func layers(of path: String) throws -> [String: Layer] {
        let file = try opened(path)
        var layers: [String: Layer] = [:]
        let names = names(in: file).sorted()
        // Bytes that belong to no tensor are divided evenly, with one more for the first layers.
        let header = file.byteCount - file.tensors.values.reduce(0) { $0 + $1.byteRange.count }
        for (place, name) in names.enumerated() {
            let (m, _, n) = try dimensions(of: name, in: file)
            let own = suffixes.compactMap { file.tensors["\(name).\($0)"]?.byteRange.count }
            let share = header / names.count + (place < header % names.count ? 1 : 0)
            layers[name] = Layer(shape: [m, n], byteCount: own.reduce(share, +))
        }
        return layers
    }

    /// One layer of a file.
    ///
    /// - Throws: as ``read(_:)``.
    package static func layer(_ name: String, of path: String) throws -> TernaryFactors {
        try layer(name, in: try opened(path))
    }

    private static func names(in file: SafetensorsFile) -> [String] {
        let suffix = ".shape"
        return file.metadata.keys.filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }
    }

    /// m, k and n.
    private static func dimensions(of name: String, in file: SafetensorsFile) throws -> (Int, Int, Int) {
        let numbers = (file.metadata["\(name).shape"] ?? "").split(separator: ",", omittingEmptySubsequences: false).map {
            Int($0)
        }
        // 2³¹ bounds each product well below overflow.
        guard numbers.count == 3, let m = numbers[0], let k = numbers[1], let n = numbers[2],
            (1...Int(Int32.max)).contains(m), (0...Int(Int32.max)).contains(k), (1...Int(Int32.max)).contains(n)
        else { throw TernaryError(.data, "\(file.path): layer \(name): metadata `shape` must be m,k,n") }
        return (m, k, n)
    }

    /// Reads all layers of a file.
    ///
    /// - Throws: `TernaryError` (data) or `FileError` naming the file and the tensor.
    package static func read(_ path: String) throws -> [String: TernaryFactors] {
        let file = try opened(path)
        _ = try Origin(file.metadata, path: path)
        let names = names(in: file)
        var expected: Set<String> = []
        var layers: [String: TernaryFactors] = [:]
        for name in names {
            layers[name] = try layer(name, in: file)
            let suffixes = isCoded(file) ? ["code"] : ["u", "s", "v"] + (layers[name]?.balance == nil ? [] : ["a", "b"])
            expected.formUnion(suffixes.map { "\(name).\($0)" })
        }
        if let stray = file.names.first(where: { !expected.contains($0) }) {
            throw TernaryError(.data, "\(path): tensor \(stray) belongs to no layer that the metadata describe")
        }
        return layers
    }

    private static func layer(_ name: String, in file: SafetensorsFile) throws -> TernaryFactors {
        func refuse(_ problem: String) -> TernaryError { TernaryError(.data, "\(file.path): layer \(name): \(problem)") }
        let (m, k, n) = try dimensions(of: name, in: file)
        guard let form = file.metadata["\(name).form"], !form.isEmpty else { throw refuse("metadata `form` is missing") }
        guard let tolerance = Float(file.metadata["\(name).tolerance"] ?? ""), tolerance > 0, tolerance < 1 else {
            throw refuse("metadata `tolerance` must be a number between 0 and 1")
        }
        let sparsity = try sparsity(of: name, in: file)
        guard isCoded(file) else {
            return try plainLayer(name, (m, k, n), tolerance: tolerance, form: form, in: file)
        }
        let info = try file.info("\(name).code")
        guard info.type == .u8, info.shape.count == 1 else {
            throw refuse("code is \(info.type.rawValue) \(info.shape), not bytes")
        }
        let code = try file.readBytes("\(name).code")
        try check(name, [code], in: file)
        do {
            return try TernaryCode.decode(
                code, rows: m, componentCount: k, columns: n, tolerance: tolerance, form: form, sparsity: sparsity)
        } catch {
            let kind = sparsity == .none ? "" : " \(sparsity.rawValue)"
            throw refuse("code is not a valid code of\(kind) factors of \(m)×\(k) and \(k)×\(n); the file is damaged")
        }
    }

    private static func isCoded(_ file: SafetensorsFile) -> Bool {
        [version, sparseVersion].contains(file.metadata["version"])
    }

    /// The sparsity stated for a layer; only files of the newest version state one.
    private static func sparsity(of name: String, in file: SafetensorsFile) throws(TernaryError) -> TernarySparsity {
        guard let text = file.metadata["\(name).\(sparsityKey)"] else { return .none }
        guard file.metadata["version"] == sparseVersion, let result = TernarySparsity(rawValue: text), result != .none else {
            let problem = "metadata `sparsity` is '\(text)', which is not supported; only 2:4 is, in version \(sparseVersion)"
            throw TernaryError(.data, "\(file.path): layer \(name): \(problem)")
        }
        return result
    }

    /// Checks that a layer's tensors and metadata are unchanged since they were written.
    static func check(_ name: String, _ tensors: [[UInt8]], in file: SafetensorsFile) throws(TernaryError) {
        let texts = described.compactMap { key in
            file.metadata["\(name).\(key)"] ?? (key == sparsityKey ? nil : "")
        }
        guard file.metadata["\(name).sha256"] == digest(texts, tensors) else {
            throw TernaryError(.data, "\(file.path): layer \(name): does not match its SHA-256; the file is damaged")
        }
    }
}
