package import Support
package import TensorCore

extension TorchArchive {
    /// Writes a dictionary of float32 tensors as `torch.save` does, atomically: the ZIP entries and the alignment of PyTorch 2,
    /// which `torch.load` reads with `weights_only=True`. The entry `extra/program` names the program.
    ///
    /// - Parameter name: that the file will have, where `path` is another for a while; without its extension it is the folder
    ///   of the archive's entries.
    /// - Precondition: no name twice.
    package static func write(
        _ tensors: [(name: String, tensor: Tensor)], to path: String, called name: String? = nil
    ) throws(FileError) {
        precondition(Set(tensors.map { UTF8Key($0.name) }).count == tensors.count, "a tensor's name occurs twice")
        var zip = ZipWriter(try AtomicFile(path), root: rootName(name ?? path))
        try zip.add("data.pkl", pickle(tensors))
        try zip.add(".format_version", Array("1".utf8))
        try zip.add(".storage_alignment", Array("\(ZipWriter.alignment)".utf8))
        try zip.add("byteorder", Array("little".utf8))
        for (index, (_, tensor)) in tensors.enumerated() {
            try zip.add("data/\(index)", ElementType.f32.narrow(tensor.pointer, count: tensor.count))
        }
        // `torch.load` reads no record that the pickle does not ask for; `extra/` is where PyTorch keeps those of applications.
        try zip.add("extra/\(ProgramVersion.key)", Array(ProgramVersion.name.utf8))
        try zip.add("version", Array("3\n".utf8))
        try zip.add(".data/serialization_id", zip.contentDigest)
        try zip.finish()
    }

    /// The folder of the archive's entries: the file's name without its extension.
    private static func rootName(_ path: String) -> String {
        let name = path.split(separator: "/").last ?? "archive"
        guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return String(name) }
        return String(name[..<dot])
    }

    private static func pickle(_ tensors: [(name: String, tensor: Tensor)]) -> [UInt8] {
        var pickle = PickleWriter()
        for (index, (name, tensor)) in tensors.enumerated() { pickle.add(name, tensor.shape, storage: index) }
        return pickle.finish()
    }
}

/// Writes the pickle that `TensorPickle` reads.
private struct PickleWriter {
    private var bytes: [UInt8] = [0x80, 2] + Array("}(".utf8)
    /// Where strings and names that occur again were stored.
    private var memo: [String: Int] = [:]

    /// `name: _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`
    mutating func add(_ name: String, _ shape: [Int], storage: Int) {
        string(name)
        global("torch._utils", "_rebuild_tensor_v2")
        bytes += "((".utf8
        remembered("storage") { $0.string("storage") }
        global("torch", "FloatStorage")
        string(String(storage))
        remembered("cpu") { $0.string("cpu") }
        integer(shape.reduce(1, *))
        bytes += "tQ".utf8
        integer(0)
        tuple(shape)
        tuple(shape.indices.map { shape[($0 + 1)...].reduce(1, *) })
        bytes.append(0x89)
        global("collections", "OrderedDict")
        bytes += ")RtR".utf8
    }

    mutating func finish() -> [UInt8] { bytes + Array("u.".utf8) }

    private mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "X"))
        bytes.append(littleEndian: UInt32(text.utf8.count))
        bytes += text.utf8
    }

    private mutating func global(_ module: String, _ name: String) {
        remembered("\(module) \(name)") { $0.bytes += "c\(module)\n\(name)\n".utf8 }
    }

    /// Writes a value the first time and recalls it later.
    private mutating func remembered(_ key: String, _ write: (inout PickleWriter) -> Void) {
        if let index = memo[key] {
            bytes += [UInt8(ascii: "h"), UInt8(index)]
        } else {
            write(&self)
            bytes += [UInt8(ascii: "q"), UInt8(memo.count)]
            memo[key] = memo.count
        }
    }

    /// Tuples of up to three elements have dedicated opcodes.
    private mutating func tuple(_ integers: [Int]) {
        if integers.count > 3 { bytes.append(UInt8(ascii: "(")) }
        for value in integers { integer(value) }
        switch integers.count {
        case 0: bytes.append(UInt8(ascii: ")"))
        case 1...3: bytes.append(0x84 + UInt8(integers.count))
        default: bytes.append(UInt8(ascii: "t"))
        }
    }

    private mutating func integer(_ value: Int) {
        switch value {
        case 0..<0x100: bytes += [UInt8(ascii: "K"), UInt8(value)]
        case 0..<0x1_0000:
            bytes.append(UInt8(ascii: "M"))
            bytes.append(littleEndian: UInt16(value))
        case 0...Int(Int32.max):
            bytes.append(UInt8(ascii: "J"))
            bytes.append(littleEndian: Int32(value))
        default:
            bytes += [0x8A, 8]
            bytes.append(littleEndian: Int64(value))
        }
    }
}
