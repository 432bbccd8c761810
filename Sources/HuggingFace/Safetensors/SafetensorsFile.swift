package import Support
package import TensorCore

/// A safetensors file, open for reading; tensors are read when asked for.
package final class SafetensorsFile: Sendable {
    package let tensors: [String: TensorInfo]
    package let metadata: [String: String]
    let file: InputFile

    package var path: String { file.path }
    /// Of the whole file, header included.
    package var byteCount: Int { file.size }
    /// Sorted.
    package var names: [String] { tensors.keys.sorted() }

    /// Opens a file and checks its header; tensors are read when they are asked for.
    ///
    /// - Throws: ``FileError`` where the header breaks a rule of the format, or tensors do not fill the file.
    package init(_ path: String) throws(FileError) {
        file = try InputFile(path)
        let header = try SafetensorsHeader(file)
        tensors = header.tensors
        metadata = header.metadata
    }

    /// - Throws: ``FileError`` where no tensor has this name.
    package func info(_ name: String) throws(FileError) -> TensorInfo {
        guard let info = tensors[name] else { throw FileError(.malformed, path, "tensor \(name) is missing") }
        return info
    }

    /// The tensor as float32.
    ///
    /// - Parameters:
    ///   - rows: a range of the first axis; everything if nil.
    ///   - finite: refuse NaN and infinity.
    package func readFloat(
        _ name: String, rows: Range<Int>? = nil, finite: Bool = false
    ) throws(FileError) -> Tensor {
        let (shape, bytes, type) = try select(name, rows)
        guard type.readsAsFloat else { throw failure(name, "\(type.rawValue) cannot be read as floating point") }
        let result = try readFloat(shape, bytes, type)
        if finite, !result.isFinite {
            let index = result.elements.firstIndex { !$0.isFinite } ?? 0
            throw failure(name, "element \(index) is \(result[flat: index])")
        }
        return result
    }

    /// The tensor's integers (or booleans, as 0 and 1).
    package func readInts(_ name: String, rows: Range<Int>? = nil) throws(FileError) -> [Int] {
        let (_, range, type) = try select(name, rows)
        guard let integers = type.integers(try file.bytes(range)) else {
            throw failure(name, "\(type.rawValue) cannot be read as integers")
        }
        return integers
    }

    /// The tensor's bytes as they are in the file.
    package func readBytes(_ name: String, rows: Range<Int>? = nil) throws(FileError) -> [UInt8] {
        try file.bytes(try select(name, rows).bytes)
    }

    func failure(_ name: String, _ problem: String) -> FileError {
        FileError(.malformed, "\(path): tensor \(name)", problem)
    }

    private func select(
        _ name: String, _ rows: Range<Int>?
    ) throws(FileError) -> (shape: [Int], bytes: Range<Int>, type: ElementType) {
        let info = try info(name)
        guard let rows else { return (info.shape, info.byteRange, info.type) }
        guard let height = info.shape.first, rows.lowerBound >= 0, rows.upperBound <= height else {
            throw failure(name, "rows \(rows) are outside shape \(info.shape)")
        }
        let rowBytes = info.rowLength * info.type.size
        let start = info.byteRange.lowerBound
        return (
            [rows.count] + info.shape.dropFirst(), start + rows.lowerBound * rowBytes..<start + rows.upperBound * rowBytes,
            info.type
        )
    }
}
