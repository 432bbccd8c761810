internal import HuggingFace
package import Support
package import TensorCore

/// An element that an encoding cannot hold.
struct UnencodableElement: Error {
    /// Place in the tensor, in row-major order.
    let index: Int
    let problem: String
}

// MARK: - Bytes to elements

extension GGUFEncoding {
    /// Elements of whole blocks, as float32. - Precondition: a quantized encoding, and as many bytes as `count` elements take.
    func decode(_ bytes: [UInt8], into target: UnsafeMutablePointer<Float>, count: Int) {
        precondition(bytes.count == size(of: count), "\(bytes.count) bytes for \(count) elements of \(name)")
        bytes.withUnsafeBufferPointer { source in
            for block in 0..<count / blockLength {
                let bytes = UnsafeBufferPointer(rebasing: source[block * blockSize..<(block + 1) * blockSize])
                decodeBlock(bytes, into: target + block * blockLength)
            }
        }
    }

    private func decodeBlock(_ bytes: UnsafeBufferPointer<UInt8>, into x: UnsafeMutablePointer<Float>) {
        switch self {
        case .q4_0:
            let d = half(bytes, 0)
            for j in 0..<16 {
                x[j] = Float(Int(bytes[2 + j] & 15) - 8) * d
                x[j + 16] = Float(Int(bytes[2 + j] >> 4) - 8) * d
            }
        case .q4_1:
            let (d, m) = (half(bytes, 0), half(bytes, 2))
            for j in 0..<16 {
                x[j] = Float(bytes[4 + j] & 15) * d + m
                x[j + 16] = Float(bytes[4 + j] >> 4) * d + m
            }
        case .q8_0:
            let d = half(bytes, 0)
            for j in 0..<32 { x[j] = Float(Int8(bitPattern: bytes[2 + j])) * d }
        case .tq2_0:
            let d = half(bytes, 64)
            for j in 0..<64 {
                for k in 0..<4 {
                    x[j / 32 * 128 + 32 * k + j % 32] = Float(Int(bytes[j] >> UInt8(2 * k) & 3) - 1) * d
                }
            }
        case .f32, .f16, .bf16: preconditionFailure("\(name) has no blocks")
        }
    }

    private func half(_ bytes: UnsafeBufferPointer<UInt8>, _ at: Int) -> Float {
        Float(Float16(bitPattern: UInt16(bytes[at]) | UInt16(bytes[at + 1]) << 8))
    }
}

// MARK: - Elements to bytes

extension GGUFEncoding {
    /// The elements `range` of a tensor in blocks.
    ///
    /// - Throws: ``UnencodableElement``: not finite, a scale beyond half precision, or for TQ2_0 anything but −d, 0 and d.
    /// - Precondition: whole blocks of a quantized encoding that is written.
    func encode(_ tensor: Tensor, _ range: Range<Int>) throws(UnencodableElement) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(size(of: range.count))
        for first in stride(from: range.lowerBound, to: range.upperBound, by: blockLength) {
            let x = UnsafeBufferPointer(start: tensor.pointer + first, count: blockLength)
            if let stray = x.firstIndex(where: { !$0.isFinite }) {
                throw UnencodableElement(index: first + stray, problem: "is \(x[stray])")
            }
            switch self {
            case .q4_0: try appendQ4(x, first, &bytes)
            case .q8_0: try appendQ8(x, first, &bytes)
            case .tq2_0: try appendTernary(x, first, &bytes)
            case .f32, .f16, .bf16, .q4_1: preconditionFailure("\(name) is not written in blocks")
            }
        }
        return bytes
    }

    /// Why a tensor cannot be written so, and what holds it; nil where it can.
    ///
    /// - Precondition: as of ``encode(_:_:)``, for all its elements.
    package func obstacle(to tensor: Tensor) -> String? {
        do throws(UnencodableElement) {
            _ = try encode(tensor, 0..<tensor.count)
            return nil
        } catch {
            return refusal(of: error)
        }
    }

    func refusal(of element: UnencodableElement) -> String {
        "element \(element.index) \(element.problem); \(name) cannot hold it"
            + (self == .tq2_0 ? ", Q4_0 and Q8_0 hold any finite weights" : "")
    }

    /// d = the value of the largest magnitude (the first of several) / −8; q = min(15, trunc(x/d + 8.5)).
    ///
    /// The product is rounded, then the sum, as in the package `gguf`: in ggml itself that depends on whether the compiler
    /// fuses the two.
    private func appendQ4(
        _ x: UnsafeBufferPointer<Float>, _ first: Int, _ bytes: inout [UInt8]
    ) throws(UnencodableElement) {
        var extreme: Float = 0
        for value in x where abs(value) > abs(extreme) { extreme = value }
        let d = extreme / -8
        try append(scale: d, first, &bytes)
        let inverse = reciprocal(d)
        func code(_ value: Float) -> UInt8 { UInt8(max(0, min(15, value * inverse + 8.5))) }
        for j in 0..<16 { bytes.append(code(x[j]) | code(x[j + 16]) << 4) }
    }

    /// d = max|x| / 127; q = x/d rounded to nearest, ties away from zero.
    private func appendQ8(
        _ x: UnsafeBufferPointer<Float>, _ first: Int, _ bytes: inout [UInt8]
    ) throws(UnencodableElement) {
        let d = x.reduce(0) { max($0, abs($1)) } / 127
        try append(scale: d, first, &bytes)
        let inverse = reciprocal(d)
        for value in x {
            let q = max(-127, min(127, (value * inverse).rounded(.toNearestOrAwayFromZero)))
            bytes.append(UInt8(bitPattern: Int8(q)))
        }
    }

    /// Exact or refused: every element is −d, 0 or d, and half precision holds d.
    private func appendTernary(
        _ x: UnsafeBufferPointer<Float>, _ first: Int, _ bytes: inout [UInt8]
    ) throws(UnencodableElement) {
        let d = x.reduce(0) { max($0, abs($1)) }
        guard Float(Float16(d)) == d else {
            throw UnencodableElement(
                index: first, problem: "begins a block of 256 whose scale, \(d), has no exact half-precision form")
        }
        if let stray = x.firstIndex(where: { $0 != 0 && abs($0) != d }) {
            throw UnencodableElement(
                index: first + stray,
                problem: "is \(x[stray]), but the largest of its block of 256 is \(d): they are not one scale times −1, 0, 1"
            )
        }
        for j in 0..<64 {
            var byte: UInt8 = 0
            for k in 0..<4 {
                let value = x[j / 32 * 128 + 32 * k + j % 32]
                byte |= (value == 0 ? 1 : value < 0 ? 0 : 2) << UInt8(2 * k)
            }
            bytes.append(byte)
        }
        try append(scale: d, first, &bytes)
    }

    private func append(scale d: Float, _ first: Int, _ bytes: inout [UInt8]) throws(UnencodableElement) {
        let rounded = Float16(d)
        guard rounded.isFinite else {
            throw UnencodableElement(index: first, problem: "begins a block whose scale, \(d), is beyond half precision")
        }
        bytes += [UInt8(truncatingIfNeeded: rounded.bitPattern), UInt8(rounded.bitPattern >> 8)]
    }

    /// 1/d; 0 where d is 0 or so small that its inverse is no number (half precision makes it 0 too).
    private func reciprocal(_ d: Float) -> Float {
        let inverse = 1 / d
        return inverse.isFinite ? inverse : 0
    }
}

// MARK: - Both

extension GGUFEncoding {
    /// The elements as a file in this encoding gives them back.
    ///
    /// - Throws: ``FileError`` for an element that it cannot hold.
    /// - Precondition: rows of whole blocks, and an encoding that is written.
    package func rounded(_ tensor: Tensor) throws(FileError) -> Tensor {
        switch self {
        case .f32: return tensor
        case .f16: return tensor.rounded(to: .f16)
        case .bf16: return tensor.rounded(to: .bf16)
        case .q4_0, .q4_1, .q8_0, .tq2_0:
            var result = Tensor(uninitialized: tensor.shape)
            do throws(UnencodableElement) {
                decode(try encode(tensor, 0..<tensor.count), into: result.mutablePointer, count: tensor.count)
            } catch {
                throw FileError(.malformed, name, "element \(error.index) \(error.problem)")
            }
            return result
        }
    }
}
