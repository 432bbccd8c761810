import Compression
import EmbeddedModel
import HuggingFace
import Models
import Quantization
import TensorCore

/// Writes the embedded model with symmetric weights of 8 bits, a range a row, and a network that runs so.
func writeEightBits(_ execution: Execution, to folder: String) throws {
    let source = try ModelFolder(EmbeddedModel.path)
    let spec = QuantizerSpec(bits: 8, symmetric: true, granularity: .channel)
    let packed = try source.parameters().mapSpecs { _, parameter, value -> CompressedValue in
        parameter.ports == nil ? .dense(StoredTensor(value)) : .integer(WeightQuantizer(spec).quantized(value))
    }
    let names = source.architecture.linears.map { ($0.name, spec) }
    try FolderPacking(integers: Dictionary(uniqueKeysWithValues: names), execution: execution).write(
        packed, from: source, as: .f32, to: folder)
}
