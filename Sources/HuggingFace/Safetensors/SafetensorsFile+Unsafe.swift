package import Support
package import TensorCore

extension SafetensorsFile {
    func readFloat(_ shape: [Int], _ range: Range<Int>, _ type: ElementType) throws(FileError) -> Tensor {
        try file.readFloat(shape, range, type)
    }
}

extension InputFile {
    /// Widened elements at a time: what lies between the file and the tensor stays in the cache.
    private static let chunk = 1 << 18

    /// Elements of `type` in `range`, as float32. - Precondition: the range holds the shape's elements.
    package func readFloat(
        _ shape: [Int], _ range: Range<Int>, _ type: ElementType
    ) throws(FileError) -> Tensor {
        var result = Tensor(uninitialized: shape)
        precondition(range.count == result.count * type.size, "\(range.count) bytes for \(shape) of \(type)")
        let target = result.mutablePointer
        if type == .f32 {
            try read(into: UnsafeMutableRawBufferPointer(start: target, count: range.count), at: range.lowerBound)
            return result
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: min(Self.chunk, result.count) * type.size, alignment: 64)
        defer { buffer.deallocate() }
        for start in stride(from: 0, to: result.count, by: Self.chunk) {
            let count = min(Self.chunk, result.count - start)
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<(count * type.size)])
            try read(into: part, at: range.lowerBound + start * type.size)
            if let source = part.baseAddress { type.widen(source, into: target + start, count: count) }
        }
        return result
    }
}
