package import HuggingFace
package import Quantization
internal import TensorCore

/// A weight of integers as a checkpoint's tensors, in the layout of compressed-tensors' `pack-quantized`:
///
///     NAME.weight_packed      I32 [out, ⌈in·b/32⌉]         code + 2^(b−1), see ``PackedIntegers``
///     NAME.weight_scale       [out, 1], [out, in/g], or [1]
///     NAME.weight_shape       I64 [2]                      out and in
///     NAME.weight_zero_point  I32 [⌈out·b/32⌉, in/g]       asymmetric only: packed along the rows
///
/// A zero point outside the codes (a group whose range does not contain 0) is beyond that layout: then all of the weight's are
/// F32 [out, in/g], which this program alone reads.
package enum IntegerTensors {
    static let packed = ".weight_packed", scale = ".weight_scale", shape = ".weight_shape", zero = ".weight_zero_point"

    /// Whether other readers of compressed-tensors can have the weight.
    package static func isPortable(_ weight: QuantizedWeight) -> Bool {
        let codes = Float(0)...Float((1 << weight.spec.bits) - 1)
        return weight.spec.symmetric || weight.zeros.withElements { $0.allSatisfy(codes.contains) }
    }

    /// - Parameter name: of the linear layer.
    /// - Precondition: scales by rows, groups of them, or one.
    package static func sources(_ name: String, _ weight: QuantizedWeight) -> [TensorSource] {
        let (spec, out, columns) = (weight.spec, weight.shape[0], weight.shape[1])
        precondition(spec.granularity != .column, "\(name): scales by columns")
        let bits = spec.bits
        let offset = spec.symmetric ? Int16(1 << (bits - 1)) : 0
        var sources = [
            TensorSource(name + packed, .i32, [out, PackedIntegers.words(columns, bits: bits)]) {
                .bytes(PackedIntegers.pack(weight.codes.map { $0 + offset }, columns: columns, bits: bits))
            },
            TensorSource(name + scale, weight.scales),
            TensorSource(name + shape, integers: [out, columns], [2], as: .i64),
        ]
        guard !spec.symmetric else { return sources }
        guard isPortable(weight), weight.zeros.shape.count == 2 else { return sources + [TensorSource(name + zero, weight.zeros)] }
        let groups = weight.zeros.columns
        sources.append(
            TensorSource(name + zero, .i32, [PackedIntegers.words(out, bits: bits), groups]) {
                // Packed along the rows: as the transpose's rows are, and turned back.
                let columns = weight.zeros.transposed()
                let codes = columns.elements.map { Int16($0) }
                return .bytes(transposedWords(PackedIntegers.pack(codes, columns: out, bits: bits), rows: groups))
            })
        return sources
    }

    /// Which of a checkpoint's tensors hold the linear of this name.
    static func names(_ name: String, in checkpoint: Checkpoint) -> [String] {
        [packed, scale, shape, zero].map { name + $0 }.filter(checkpoint.contains)
    }

    /// - Parameters:
    ///   - expected: the weight's shape.
    ///   - spec: as the configuration describes the weight.
    /// - Throws: ``HuggingFaceError`` naming the tensor.
    static func read(
        _ name: String, _ expected: [Int], _ spec: QuantizerSpec, from checkpoint: Checkpoint
    ) throws(HuggingFaceError) -> QuantizedWeight {
        let (out, columns, bits) = (expected[0], expected[1], spec.bits)
        func check(_ tensor: String, _ types: [ElementType], _ shape: [Int]) throws(HuggingFaceError) {
            let info = try checkpoint.info(tensor)
            guard types.contains(info.type), info.shape == shape else {
                throw HuggingFaceError(
                    .malformed, "\(checkpoint.folder): tensor \(tensor)",
                    "is \(info.type.rawValue) \(info.shape), not \(types.map(\.rawValue).joined(separator: " or ")) \(shape)")
            }
        }
        try check(name + packed, [.i32], [out, PackedIntegers.words(columns, bits: bits)])
        try check(name + shape, [.i64], [2])
        let said = try checkpoint.file(of: name + shape).readInts(name + shape)
        guard said == expected else {
            throw HuggingFaceError(
                .malformed, "\(checkpoint.folder): tensor \(name + shape)", "is \(said); config.json says \(expected)")
        }
        let scaleShape = scaleShape(spec, out, columns)
        try check(name + scale, [.f32, .bf16, .f16], scaleShape)
        let scales = try checkpoint.read(name + scale)
        var zeros = Tensor(zeros: scaleShape)
        if !spec.symmetric { zeros = try readZeros(name + zero, scaleShape, out, bits, check, checkpoint) }
        let offset = spec.symmetric ? Int16(1 << (bits - 1)) : 0
        let bytes = try checkpoint.file(of: name + packed).readBytes(name + packed)
        let codes = PackedIntegers.unpack(bytes, rows: out, columns: columns, bits: bits)
        return QuantizedWeight(
            codes: offset == 0 ? codes : codes.map { $0 - offset }, scales: scales, zeros: zeros, shape: expected, spec: spec)
    }

    private static func readZeros(
        _ tensor: String, _ shape: [Int], _ out: Int, _ bits: Int,
        _ check: (String, [ElementType], [Int]) throws(HuggingFaceError) -> Void, _ checkpoint: Checkpoint
    ) throws(HuggingFaceError) -> Tensor {
        if try checkpoint.info(tensor).type == .f32 {
            try check(tensor, [.f32], shape)
            return try checkpoint.read(tensor)
        }
        let groups = shape.last ?? 1
        let words = PackedIntegers.words(out, bits: bits)
        try check(tensor, [.i32], [words, groups])
        let bytes = transposedWords(try checkpoint.file(of: tensor).readBytes(tensor), rows: words)
        let codes = PackedIntegers.unpack(bytes, rows: groups, columns: out, bits: bits)
        return Tensor(codes.map(Float.init), [groups, out]).transposed()
    }

    static func scaleShape(_ spec: QuantizerSpec, _ out: Int, _ columns: Int) -> [Int] {
        switch spec.granularity {
        case .tensor: [1]
        case .group(let size), .head(let size): [out, columns / size]
        case .channel, .token, .column: [out, 1]
        }
    }

    /// The transpose of a matrix of 32-bit words.
    private static func transposedWords(_ bytes: [UInt8], rows: Int) -> [UInt8] {
        let columns = rows == 0 ? 0 : bytes.count / 4 / rows
        var result = [UInt8]()
        result.reserveCapacity(bytes.count)
        for column in 0..<columns {
            for row in 0..<rows {
                let at = 4 * (row * columns + column)
                result += bytes[at..<at + 4]
            }
        }
        return result
    }
}
