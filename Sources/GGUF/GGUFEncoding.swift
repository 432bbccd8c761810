/// How the elements of a tensor are stored in a GGUF file: the encodings that are read here, by their numbers in the file.
///
/// Elements of a row come in blocks; a quantized block is a scale in half precision and small integers.
package enum GGUFEncoding: UInt32, Sendable, CaseIterable {
    case f32 = 0
    case f16 = 1
    /// 32 elements: d, then byte j = q[j] | q[j + 16] << 4; x = (q − 8)·d.
    case q4_0 = 2
    /// 32 elements: d, m, then nibbles as in ``q4_0``; x = q·d + m. Read only.
    case q4_1 = 3
    /// 32 elements: d, then 32 signed bytes; x = q·d.
    case q8_0 = 8
    case bf16 = 30
    /// 256 elements: two halves of 32 bytes, of which byte j holds q[32k + j] at bits 2k; then d; x = (q − 1)·d.
    case tq2_0 = 35

    package var name: String {
        switch self {
        case .f32: "F32"
        case .f16: "F16"
        case .q4_0: "Q4_0"
        case .q4_1: "Q4_1"
        case .q8_0: "Q8_0"
        case .bf16: "BF16"
        case .tq2_0: "TQ2_0"
        }
    }

    /// Elements of a block; a row holds whole blocks.
    package var blockLength: Int {
        switch self {
        case .f32, .f16, .bf16: 1
        case .q4_0, .q4_1, .q8_0: 32
        case .tq2_0: 256
        }
    }

    /// Bytes of a block.
    package var blockSize: Int {
        switch self {
        case .f32: 4
        case .f16, .bf16: 2
        case .q4_0: 18
        case .q4_1: 20
        case .q8_0: 34
        case .tq2_0: 66
        }
    }

    /// Bytes of some elements. - Precondition: whole blocks.
    package func size(of count: Int) -> Int {
        precondition(count % blockLength == 0, "\(count) elements are no whole blocks of \(name)")
        return count / blockLength * blockSize
    }

    /// Encodings that other programs write, so that a refusal can name them.
    static let others: [UInt32: String] = [
        6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
        17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16",
        26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 39: "MXFP4", 41: "Q1_0", 42: "Q2_0",
    ]
}
