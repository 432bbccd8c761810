/// What the forms are called that a model leaves in, for settings and the command line; `ModelWriters` of module `Exports` has
/// a writer for each.
package enum ExportFormat: String, CaseIterable, Sendable {
    case huggingface
    case compressedTensors = "compressed-tensors"
    case paddedCompressedTensors = "compressed-tensors-padded"
    case rotatingCompressedTensors = "compressed-tensors-transforms"
    case paddedRotatingCompressedTensors = "compressed-tensors-transforms-padded"
    case ggufF32 = "gguf-f32"
    case ggufF16 = "gguf-f16"
    case ggufBF16 = "gguf-bf16"
    case ggufQ8 = "gguf-q8_0"
    case ggufQ4 = "gguf-q4_0"
    case ggufTQ2 = "gguf-tq2_0"
    case onnx
    case rotations = "r-bin"

    /// Packed integers with or without R4 as `transform_config`, their zero points as published or as transformers has them.
    package static func compressedTensors(rotates: Bool, isPadded: Bool) -> Self {
        switch (rotates, isPadded) {
        case (false, false): .compressedTensors
        case (false, true): .paddedCompressedTensors
        case (true, false): .rotatingCompressedTensors
        case (true, true): .paddedRotatingCompressedTensors
        }
    }

    /// All of them, for people.
    package static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }
}
