internal import HuggingFace
package import Support
package import TensorCore

/// A GGUF file, open for reading; tensors are read when asked for.
///
/// Source: docs/gguf.md of ggml-org/ggml, version 3; little-endian.
package final class GGUFFile: Sendable {
    /// In the header's order.
    package let values: [(key: String, value: GGUFValue)]
    /// In the order of the data.
    package let tensors: [GGUFTensorInfo]
    private let positions: [String: Int]
    private let keys: [String: Int]
    private let file: InputFile

    package var path: String { file.path }

    /// - Throws: ``FileError`` with the byte at which the header breaks a rule.
    package init(_ path: String) throws(FileError) {
        file = try InputFile(path)
        let header = try GGUFHeader(file)
        (values, tensors) = (header.values, header.tensors)
        positions = Dictionary(uniqueKeysWithValues: tensors.enumerated().map { ($0.element.name, $0.offset) })
        keys = Dictionary(uniqueKeysWithValues: values.enumerated().map { ($0.element.key, $0.offset) })
    }

    /// What the names of such files end in.
    package static let ending = ".gguf"

    /// Whether a path names a file of this kind: by its ending, or by what it begins with.
    package static func isNamed(by path: String) -> Bool {
        guard PathKind(path, followsLinks: true) == .file else { return false }
        guard !path.hasSuffix(ending) else { return true }
        guard let file = try? InputFile(path), file.size >= magic.count else { return false }
        return (try? file.bytes(0..<magic.count)) == magic
    }

    /// What every such file begins with.
    package static let magic = GGUFHeader.magic

    /// The value of a key; nil where there is none.
    package subscript(_ key: String) -> GGUFValue? { keys[key].map { values[$0].value } }

    /// A tensor's encoding, shape and place in the file; nil where there is no such tensor.
    package func info(_ name: String) -> GGUFTensorInfo? { positions[name].map { tensors[$0] } }

    /// An error at a key or tensor, for checks of the caller's own.
    package func failure(_ place: String, _ problem: String) -> FileError {
        FileError(.malformed, "\(path): \(place)", problem)
    }

    /// The tensor as float32. NaN and infinity are refused: they are in no useful model, and spread through everything.
    ///
    /// - Throws: ``FileError``; also where no tensor has this name.
    package func read(_ name: String) throws(FileError) -> Tensor {
        guard let info = info(name) else { throw failure("tensor \(name)", "is missing") }
        let tensor = try elements(info)
        if !tensor.isFinite {
            let index = tensor.elements.firstIndex { !$0.isFinite } ?? 0
            throw FileError(
                .malformed,
                "\(path): byte \(info.byteRange.lowerBound + index / info.encoding.blockLength * info.encoding.blockSize)",
                "tensor \(name): element \(index) is \(tensor[flat: index])")
        }
        return tensor
    }

    /// Elements decoded at a time; whole blocks of every encoding.
    static let chunk = 1 << 18

    private func elements(_ info: GGUFTensorInfo) throws(FileError) -> Tensor {
        switch info.encoding {
        case .f32: return try file.readFloat(info.shape, info.byteRange, .f32)
        case .f16: return try file.readFloat(info.shape, info.byteRange, .f16)
        case .bf16: return try file.readFloat(info.shape, info.byteRange, .bf16)
        case .q4_0, .q4_1, .q8_0, .tq2_0:
            var result = Tensor(uninitialized: info.shape)
            let target = result.mutablePointer
            for start in stride(from: 0, to: result.count, by: Self.chunk) {
                let count = min(Self.chunk, result.count - start)
                let first = info.byteRange.lowerBound + info.encoding.size(of: start)
                let bytes = try file.bytes(first..<first + info.encoding.size(of: count))
                info.encoding.decode(bytes, into: target + start, count: count)
            }
            return result
        }
    }
}
