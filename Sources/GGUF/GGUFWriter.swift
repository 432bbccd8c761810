internal import HuggingFace
internal import Support
package import TensorCore

/// A tensor to be written to a GGUF file: what the header needs, and how to get the elements when their turn comes.
package struct GGUFTensorSource {
    package let name: String
    package let encoding: GGUFEncoding
    /// Slowest extent first.
    package let shape: [Int]
    let content: () throws -> Tensor

    /// - Parameter content: called once.
    /// - Precondition: rows of whole blocks; a name that ggml holds.
    package init(_ name: String, _ encoding: GGUFEncoding, _ shape: [Int], content: @escaping () throws -> Tensor) {
        precondition(
            (shape.last ?? 0) % encoding.blockLength == 0, "\(name): rows of \(shape) are no whole blocks of \(encoding.name)")
        precondition((1...GGUFHeader.longestName).contains(name.utf8.count), "\(name) is too long a name for ggml")
        precondition((1...GGUFHeader.mostAxes).contains(shape.count) && !shape.contains(0), "\(name) has the shape \(shape)")
        (self.name, self.encoding, self.shape, self.content) = (name, encoding, shape, content)
    }
}

extension GGUFFile {
    /// Writes a GGUF file, atomically.
    ///
    /// - Throws: an I/O error; what a source's `content` throws; `FileError` for an element that its encoding cannot hold.
    /// - Precondition: no key and no name twice.
    package static func write(
        _ values: [(key: String, value: GGUFValue)], _ sources: [GGUFTensorSource], to path: String
    ) throws {
        precondition(Set(values.map(\.key)).count == values.count, "a key occurs twice")
        precondition(Set(sources.map(\.name)).count == sources.count, "a tensor's name occurs twice")
        let file = try AtomicFile(path)
        try file.write(header(values, sources))
        for source in sources {
            try pad(file)
            let start = file.count
            let tensor = try source.content()
            precondition(tensor.shape == source.shape, "\(source.name): \(tensor.shape) is not \(source.shape)")
            do {
                try write(tensor, of: source, to: file)
            } catch let element as UnencodableElement {
                throw FileError(.malformed, "\(path): tensor \(source.name)", source.encoding.refusal(of: element))
            }
            precondition(file.count - start == source.encoding.size(of: tensor.count), "\(source.name) has another size")
        }
        try pad(file)
        try file.commit()
    }

    private static func header(_ values: [(key: String, value: GGUFValue)], _ sources: [GGUFTensorSource]) -> [UInt8] {
        var bytes = GGUFHeader.magic
        bytes.append(littleEndian: GGUFHeader.version)
        bytes.append(littleEndian: UInt64(sources.count))
        bytes.append(littleEndian: UInt64(values.count))
        for (key, value) in values {
            bytes.append(ggufString: key)
            bytes.append(littleEndian: value.kind.rawValue)
            value.append(to: &bytes)
        }
        var offset = 0
        for source in sources {
            bytes.append(ggufString: source.name)
            bytes.append(littleEndian: UInt32(source.shape.count))
            for extent in source.shape.reversed() { bytes.append(littleEndian: UInt64(extent)) }
            bytes.append(littleEndian: source.encoding.rawValue)
            bytes.append(littleEndian: UInt64(offset))
            offset += padded(source.encoding.size(of: source.shape.reduce(1, *)))
        }
        return bytes
    }

    private static func padded(_ offset: Int) -> Int {
        (offset + GGUFHeader.defaultAlignment - 1) / GGUFHeader.defaultAlignment * GGUFHeader.defaultAlignment
    }

    private static func pad(_ file: AtomicFile) throws(FileError) {
        try file.write([UInt8](repeating: 0, count: padded(file.count) - file.count))
    }

    private static func write(_ tensor: Tensor, of source: GGUFTensorSource, to file: AtomicFile) throws {
        let type: ElementType? = [.f32: .f32, .f16: .f16, .bf16: .bf16][source.encoding]
        if let type { return try SafetensorsFile.write(tensor, as: type, named: source.name, to: file) }
        for start in stride(from: 0, to: tensor.count, by: chunk) {
            try file.write(source.encoding.encode(tensor, start..<min(start + chunk, tensor.count)))
        }
    }
}
