internal import HuggingFace
internal import Support
internal import TensorCore

/// Packed layers on disk: a safetensors file.
///
/// For each layer NAME:
///
///     NAME.u  U8  [⌈m·k/8⌉ + ⌈z/8⌉]   U, row-major: a bit for each entry, set where it is not 0; then, from the next
///                                     byte on, a bit for each of these z entries in the same order, set where it
///                                     is −1. The lowest bit of a byte comes first
///     NAME.s  F32 [k]
///     NAME.v  U8  [⌈k·n/8⌉ + ⌈z/8⌉]   V, likewise
///     NAME.a  F32 [m]                 and NAME.b F32 [n], where the layer is balanced: both or neither
///
/// Metadata: `format` is `sq-train.ternary`, `version` is `4`, and per layer `NAME.shape` is `m,k,n`, `NAME.form` (`linear`, or
/// a convolution's form), `NAME.tolerance` and `NAME.sha256`. The last is, in hexadecimal, of these three texts, each with a
/// line feed after it, and of the bytes of u, s, v and, where they are, a and b: any matrix is a valid one, so that nothing
/// else would show a changed bit. Bits beyond the last entry and the last sign are 0. The reader refuses everything else.
///
/// Optional, see ``Origin``: `source_model_sha256`, one digest, and `target_model_sha256`, one or more divided by commas.
/// `metadata_sha256` is of all other metadata, a line `key=value` each, sorted. Files of version 3 lack it and are read, too.
package enum TernaryFile {
    static let format = "sq-train.ternary"
    static let version = "4"
    /// Before the metadata had a digest.
    private static let olderVersion = "3"
    private static let sealKey = "metadata_sha256"

    /// The digest of all metadata but itself.
    static func seal(_ metadata: [String: String]) -> String {
        let lines = metadata.filter { $0.key != sealKey }.map { "\($0.key)=\($0.value)\n" }.sorted()
        return sha256(of: lines.flatMap { Array($0.utf8) })
    }

    /// Which models factors have to do with, by the SHA-256 of their tensors as hexadecimal digits (`Checkpoint.digest`).
    package struct Origin: Sendable, Equatable {
        /// The model the factors were made from.
        package var source: String?
        /// The models whose other weights belong to the factors: scored in any of them, the factors give the numbers they had
        /// when they were made. Empty where the file does not say.
        package var targets: [String]

        package init(source: String? = nil, targets: [String] = []) { (self.source, self.targets) = (source, targets) }

        fileprivate static let (sourceKey, targetKey) = ("source_model_sha256", "target_model_sha256")

        fileprivate init(_ metadata: [String: String], path: String) throws(TernaryError) {
            source = metadata[Self.sourceKey]
            targets = (metadata[Self.targetKey] ?? "").split(separator: ",").map(String.init)
            for digest in [source].compactMap(\.self) + targets where digest.count != 64 || !digest.allSatisfy(\.isHexDigit) {
                throw TernaryError(.data, "\(path): '\(digest)' in the metadata is no SHA-256 of a model")
            }
        }

        fileprivate var metadata: [String: String] {
            var result: [String: String] = [:]
            result[Self.sourceKey] = source
            if !targets.isEmpty { result[Self.targetKey] = targets.joined(separator: ",") }
            return result
        }
    }

    /// The metadata's word on the models, without the factors.
    ///
    /// - Throws: as ``read(_:)``.
    package static func origin(of path: String) throws -> Origin { try Origin(try opened(path).metadata, path: path) }

    /// Writes layers by name, atomically.
    ///
    /// - Parameter more: metadata of the caller's own.
    package static func write(
        _ layers: [String: TernaryFactors], to path: String, origin: Origin = Origin(), more: [String: String] = [:]
    ) throws {
        var metadata = more.merging(origin.metadata) { $1 }
        (metadata["format"], metadata["version"], metadata["program"]) = (format, version, ProgramVersion.name)
        var sources: [TensorSource] = []
        for (name, layer) in layers.sorted(by: { $0.key < $1.key }) {
            let texts = ["\(layer.u.rows),\(layer.rank),\(layer.v.columns)", layer.form, "\(layer.tolerance)"]
            let tensors: [(suffix: String, type: ElementType, bytes: [UInt8])] =
                [("u", .u8, layer.u.bytes), ("s", .f32, bytes(of: layer.s)), ("v", .u8, layer.v.bytes)]
                + (layer.balance.map { [("a", .f32, bytes(of: $0.a)), ("b", .f32, bytes(of: $0.b))] } ?? [])
            for (key, text) in zip(described, texts) { metadata["\(name).\(key)"] = text }
            metadata["\(name).sha256"] = digest(texts, tensors.map(\.bytes))
            for (suffix, type, bytes) in tensors {
                sources.append(TensorSource("\(name).\(suffix)", type, [bytes.count / type.size]) { .bytes(bytes) })
            }
        }
        metadata[sealKey] = seal(metadata)
        try SafetensorsFile.write(sources, to: path, metadata: metadata)
    }

    /// What the metadata say of a layer, besides the digest of it.
    private static let described = ["shape", "form", "tolerance"]

    static func digest(_ texts: [String], _ tensors: [[UInt8]]) -> String {
        sha256(of: texts.flatMap { Array("\($0)\n".utf8) } + tensors.joined())
    }

    private static func bytes(of values: [Float]) -> [UInt8] {
        values.flatMap { value in withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) } }
    }

    /// The file, once it is known to be one of packed layers that this program reads.
    private static func opened(_ path: String) throws -> SafetensorsFile {
        let file = try SafetensorsFile(path)
        guard file.metadata["format"] == format else {
            throw TernaryError(.data, "\(path): metadata `format` is not \(format); this is no file of packed ternary layers")
        }
        let found = file.metadata["version"] ?? "missing"
        guard found == version || found == olderVersion else {
            throw TernaryError(
                .data, "\(path): version \(found) of packed ternary layers; this program reads \(olderVersion) and \(version)")
        }
        guard found == olderVersion || file.metadata[sealKey] == seal(file.metadata) else {
            throw TernaryError(.data, "\(path): the metadata do not match their SHA-256; the file is damaged or was edited")
        }
        return file
    }

    /// The metadata of a file, the caller's own among them.
    package static func metadata(of path: String) throws -> [String: String] { try opened(path).metadata }

    /// What a layer takes in a file.
    package struct Layer: Sendable {
        /// `[m, n]`.
        package let shape: [Int]
        /// Of all its tensors.
        package let byteCount: Int
    }

    /// The layers of a file by name; no factors are read.
    ///
    /// - Throws: as ``read(_:)``.
    package static func layers(of path: String) throws -> [String: Layer] {
        let file = try opened(path)
        var layers: [String: Layer] = [:]
        for name in names(in: file) {
            let (m, _, n) = try dimensions(of: name, in: file)
            let bytes = ["u", "s", "v", "a", "b"].compactMap { file.tensors["\(name).\($0)"]?.byteRange.count }
            layers[name] = Layer(shape: [m, n], byteCount: bytes.reduce(0, +))
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
            expected.formUnion(["u", "s", "v"].map { "\(name).\($0)" })
            if layers[name]?.balance != nil { expected.formUnion(["\(name).a", "\(name).b"]) }
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
        func packed(_ suffix: String, _ rows: Int, _ columns: Int) throws -> PackedTernary {
            let tensor = "\(name).\(suffix)"
            let info = try file.info(tensor)
            let (least, most) = (
                PackedTernary.maskBytes(rows: rows, columns: columns), PackedTernary.maximumBytes(rows: rows, columns: columns)
            )
            guard info.type == .u8, info.shape.count == 1, (least...most).contains(info.shape[0]) else {
                let expected = "U8 of \(least) to \(most) bytes for \(rows)×\(columns)"
                throw refuse("\(suffix) is \(info.type.rawValue) \(info.shape), not \(expected)")
            }
            guard let result = PackedTernary(bytes: try file.readBytes(tensor), rows: rows, columns: columns) else {
                throw refuse("\(suffix) has not one sign for each non-zero, or stray bits beyond the last; the file is damaged")
            }
            return result
        }
        func floats(_ suffix: String, _ count: Int) throws -> [Float] {
            let info = try file.info("\(name).\(suffix)")
            guard info.type == .f32, info.shape == [count] else {
                throw refuse("\(suffix) is \(info.type.rawValue) \(info.shape), not F32 [\(count)]")
            }
            return try file.readFloat("\(name).\(suffix)", finite: true).elements
        }
        var balance: Balance?
        if file.tensors["\(name).a"] != nil || file.tensors["\(name).b"] != nil {
            balance = try Balance(a: floats("a", m), b: floats("b", n))
        }
        let factors = try TernaryFactors(
            u: packed("u", m, k), s: floats("s", k), v: packed("v", k, n), balance: balance, tolerance: tolerance, form: form)
        let texts = described.map { file.metadata["\(name).\($0)"] ?? "" }
        let tensors = ["u", "s", "v"] + (balance == nil ? [] : ["a", "b"])
        guard try file.metadata["\(name).sha256"] == digest(texts, tensors.map { try file.readBytes("\(name).\($0)") }) else {
            throw refuse("does not match its SHA-256; the file is damaged")
        }
        return factors
    }
}
