package import HuggingFace
package import Quantization
package import Support
internal import TensorCore

/// A weight of integers as a checkpoint's tensors, in the layout of compressed-tensors' `pack-quantized`:
///
///     NAME.weight_packed      I32 [out, ⌈in·b/32⌉]         code + 2^(b−1), see ``PackedIntegers``
///     NAME.weight_scale       [out, 1], [out, in/g], or [1]
///     NAME.weight_shape       I64 [2]                      out and in
///     NAME.weight_zero_point  I32 [⌈out·b/32⌉, in/g]       asymmetric only: packed along the rows; I8 [1] for a tensor
///
/// transformers 5 allocates zero points of shape [out, in/g] and unpacks only the first ⌈out·b/32⌉ rows: `paddedRows(_:in:)`.
///
/// A zero point outside the codes (of a group whose range does not contain 0) does not fit this layout. Then all zero points of
/// the weight are F32 [out, in/g], which only this program reads.
///
/// In the layout `int-quantized`, codes are bytes from −2^(b−1) on, `NAME.weight` I8 [out, in], without `weight_shape`. Zero
/// points are I8 with the shape of the scales.
package enum IntegerTensors {
    static let packed = ".weight_packed", bytes = ".weight", scale = ".weight_scale", shape = ".weight_shape",
        zero = ".weight_zero_point"

    /// Whether other programs that read compressed-tensors can read the weight.
    package static func isPortable(_ weight: QuantizedWeight) -> Bool {
        let codes = Float(0)...Float((1 << weight.spec.bits) - 1)
        return weight.spec.symmetric || weight.zeros.withElements { $0.allSatisfy(codes.contains) }
    }

    /// - Parameter name: of the linear layer.
    /// - Precondition: scales by rows, groups of them, or one.
    package static func sources(
        _ name: String, _ weight: QuantizedWeight, _ layout: WeightPacking.Layout = .packed
    ) -> [TensorSource] {
        let (spec, out, columns) = (weight.spec, weight.shape[0], weight.shape[1])
        precondition(spec.granularity != .column && weight.columnGroups == nil, "\(name): scales by columns")
        let (bits, half) = (spec.bits, Int16(1 << (spec.bits - 1)))
        let scales = TensorSource(name + scale, weight.scales)
        guard layout == .packed else {
            let offset = spec.symmetric ? 0 : half
            let codes = TensorSource(name + bytes, .i8, [out, columns]) {
                .bytes(weight.codes.map { UInt8(bitPattern: Int8($0 - offset)) })
            }
            guard !spec.symmetric else { return [codes, scales] }
            guard isPortable(weight) else { return [codes, scales, TensorSource(name + zero, weight.zeros)] }
            let zeros = weight.zeros.elements.map { Int($0) - Int(offset) }
            return [codes, scales, TensorSource(name + zero, integers: zeros, weight.zeros.shape, as: .i8)]
        }
        let offset = spec.symmetric ? half : 0
        let sources = [
            TensorSource(name + packed, .i32, [out, PackedIntegers.words(columns, bits: bits)]) {
                .bytes(PackedIntegers.pack(weight.codes.map { $0 + offset }, columns: columns, bits: bits))
            },
            scales, TensorSource(name + shape, integers: [out, columns], [2], as: .i64),
        ]
        guard !spec.symmetric else { return sources }
        guard isPortable(weight) else { return sources + [TensorSource(name + zero, weight.zeros)] }
        guard weight.zeros.shape.count == 2 else {
            // A single zero point for the tensor is not packed, and counts from the middle of the codes.
            let zeros = weight.zeros.elements.map { Int($0) - Int(half) }
            return sources + [TensorSource(name + zero, integers: zeros, weight.zeros.shape, as: .i8)]
        }
        let groups = weight.zeros.columns
        let zeros = TensorSource(name + zero, .i32, [PackedIntegers.words(out, bits: bits), groups]) {
            // Packed along the rows: the rows of the transpose are packed, then transposed back.
            let codes = weight.zeros.transposed().elements.map { Int16($0) }
            return .bytes(transposedWords(PackedIntegers.pack(codes, columns: out, bits: bits), rows: groups))
        }
        return sources + [zeros]
    }

    /// The number of rows that transformers 5 expects of packed zero points: as many as the weight has, with zeros after the
    /// used ones. nil for every other tensor.
    package static func paddedRows(_ tensor: String, in checkpoint: Checkpoint) throws(FileError) -> Int? {
        guard tensor.hasSuffix(zero), try checkpoint.info(tensor).type == .i32 else { return nil }
        return try checkpoint.info(tensor.dropLast(zero.count) + packed).shape.first
    }

    /// Whether a checkpoint has the linear of this name as integers.
    static func isThere(
        _ name: String, _ layout: WeightPacking.Layout, in checkpoint: Checkpoint
    ) throws(FileError) -> Bool {
        switch layout {
        case .packed: checkpoint.contains(name + packed)
        case .bytes: checkpoint.contains(name + bytes) ? try checkpoint.info(name + bytes).type == .i8 : false
        }
    }

    /// Names of the checkpoint's tensors that hold the linear of this name.
    static func names(_ name: String, _ layout: WeightPacking.Layout, in checkpoint: Checkpoint) -> [String] {
        ([layout == .packed ? packed : bytes, scale, zero] + (layout == .packed ? [shape] : [])).map { name + $0 }
            .filter(checkpoint.contains)
    }

    /// - Parameters:
    ///   - expected: the weight's shape.
    ///   - spec: the weight's quantizer as the configuration describes it.
    /// - Throws: ``FileError`` naming the tensor.
    static func read(
        _ name: String, _ expected: [Int], _ spec: QuantizerSpec, _ layout: WeightPacking.Layout, from checkpoint: Checkpoint
    ) throws(FileError) -> QuantizedWeight {
        let (out, columns, bits) = (expected[0], expected[1], spec.bits)
        func check(_ tensor: String, _ types: [ElementType], _ shape: [Int]) throws(FileError) {
            let info = try checkpoint.info(tensor)
            guard types.contains(info.type), info.shape == shape else {
                throw FileError(
                    .malformed, "\(checkpoint.folder): tensor \(tensor)",
                    "is \(info.type.rawValue) \(info.shape), not \(types.map(\.rawValue).joined(separator: " or ")) \(shape)")
            }
        }
        let scaleShape = scaleShape(spec, out, columns)
        try check(name + scale, [.f32, .bf16, .f16], scaleShape)
        let scales = try checkpoint.read(name + scale)
        guard scales.withElements({ $0.allSatisfy { $0 > 0 } }) else {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(name + scale)", "has scales that are not positive")
        }
        if spec.symmetric, checkpoint.contains(name + zero) {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(name + zero)",
                "holds zero points, but config.json says that the weight is symmetric; correct one of them")
        }
        var codes: [Int16]
        // Codes are kept signed where symmetric, else from 0 on.
        let half = Int16(1 << (bits - 1))
        switch layout {
        case .packed:
            let words = try checkpoint.file(of: name + packed).readBytes(name + packed)
            guard !PackedIntegers.isOfWholeWords(words, rows: out, columns: columns, bits: bits) else {
                throw FileError(
                    .malformed, "\(checkpoint.folder): tensor \(name + packed)",
                    "has \(32 / bits) integers of \(bits) bits in each word, as compressed-tensors packed them before "
                        + "mid-2026; this program reads those that may span two words: save the model with a newer version")
            }
            try check(name + packed, [.i32], [out, PackedIntegers.words(columns, bits: bits)])
            try check(name + shape, [.i64], [2])
            let said = try checkpoint.file(of: name + shape).readInts(name + shape)
            guard said == expected else {
                throw FileError(
                    .malformed, "\(checkpoint.folder): tensor \(name + shape)", "is \(said); config.json says \(expected)")
            }
            codes = PackedIntegers.unpack(words, rows: out, columns: columns, bits: bits)
            if spec.symmetric { codes = codes.map { $0 - half } }
        case .bytes:
            try check(name + bytes, [.i8], expected)
            codes = try checkpoint.file(of: name + bytes).readBytes(name + bytes).map { Int16(Int8(bitPattern: $0)) }
            guard codes.allSatisfy({ (-half..<half).contains($0) }) else {
                throw FileError(
                    .malformed, "\(checkpoint.folder): tensor \(name + bytes)", "has codes that do not fit \(bits) bits")
            }
            if !spec.symmetric { codes = codes.map { $0 + half } }
        }
        var zeros = Tensor(zeros: scaleShape)
        if !spec.symmetric { zeros = try readZeros(name + zero, scaleShape, out, bits, check, checkpoint) }
        return QuantizedWeight(codes: codes, scales: scales, zeros: zeros, shape: expected, spec: spec)
    }

    private static func readZeros(
        _ tensor: String, _ shape: [Int], _ out: Int, _ bits: Int,
        _ check: (String, [ElementType], [Int]) throws(FileError) -> Void, _ checkpoint: Checkpoint
    ) throws(FileError) -> Tensor {
        switch try checkpoint.info(tensor).type {
        case .f32:
            try check(tensor, [.f32], shape)
            let zeros = try checkpoint.read(tensor)
            guard let fraction = zeros.elements.first(where: { $0 != $0.rounded() }) else { return zeros }
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(tensor)", "holds \(fraction), but zero points must be whole numbers"
            )
        case .i8:
            try check(tensor, [.i8], shape)
            let zeros = try checkpoint.file(of: tensor).readInts(tensor)
            return Tensor(zeros.map { Float($0 + 1 << (bits - 1)) }, shape)
        default: break
        }
        let groups = shape.last ?? 1
        let words = PackedIntegers.words(out, bits: bits)
        let isPadded = try checkpoint.info(tensor).shape == [out, groups]
        try check(tensor, [.i32], [isPadded ? out : words, groups])
        let bytes = try checkpoint.file(of: tensor).readBytes(tensor)
        guard bytes[(4 * words * groups)...].allSatisfy({ $0 == 0 }) else {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(tensor)", "has more than its \(words) rows of packed zero points")
        }
        let codes = PackedIntegers.unpack(
            transposedWords(Array(bytes[..<(4 * words * groups)]), rows: words), rows: groups, columns: out, bits: bits)
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
