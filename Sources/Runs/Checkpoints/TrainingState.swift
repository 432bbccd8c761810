internal import HuggingFace
package import TensorCore
package import TernarySVD

/// What a rank must remember between two steps to go on as if it had never stopped.
///
/// Learning rate, order of the data and every random draw follow from the configuration and the step's number; only what
/// training has made is in here.
package struct TrainingState: Sendable {
    package var tensors: [String: Tensor] = [:]
    /// Ternary factors, packed in memory as in the file.
    package var ternary: [String: PackedTernary] = [:]
    /// Kept to the bit.
    package var numbers: [String: Double] = [:]
    /// Names of tensors that each replica of a stage has for itself. The other tensors and all ternary factors are the same in
    /// all replicas, and saved once.
    package var ownTensors: Set<String> = []

    package init() {}

    /// - Throws: ``CheckpointError`` where the state lacks what this program needs: it was written by another version.
    package func tensor(_ name: String, _ shape: [Int]) throws(CheckpointError) -> Tensor {
        guard let tensor = tensors[name] else { throw .lacks(name) }
        guard tensor.shape == shape else { throw .lacks("\(name) of shape \(shape)") }
        return tensor
    }

    package func number(_ name: String) throws(CheckpointError) -> Double {
        guard let number = numbers[name] else { throw .lacks(name) }
        return number
    }

    package func ternary(_ name: String) throws(CheckpointError) -> PackedTernary {
        guard let factor = ternary[name] else { throw .lacks(name) }
        return factor
    }

    /// Adds all of another state, whose names are others.
    package mutating func merge(_ other: TrainingState) {
        func unique<Value>(_: Value, _: Value) -> Value { preconditionFailure("a name of two states") }
        tensors.merge(other.tensors, uniquingKeysWith: unique)
        ternary.merge(other.ternary, uniquingKeysWith: unique)
        numbers.merge(other.numbers, uniquingKeysWith: unique)
        ownTensors.formUnion(other.ownTensors)
    }

    /// What a replica has for itself.
    var own: TrainingState {
        var own = self
        own.tensors = tensors.filter { ownTensors.contains($0.key) }
        own.ternary = [:]
        return own
    }

    /// Adds what this replica has in common with another one.
    mutating func complete(from other: TrainingState) {
        tensors.merge(other.tensors) { own, _ in own }
        ternary.merge(other.ternary) { own, _ in own }
    }
}

// MARK: - As a file

extension TrainingState {
    private static let format = "sq-train.state"

    /// A safetensors file: tensors F32, ternary factors U8 (``PackedTernary/bytes``) with their shape in the metadata, numbers
    /// in the metadata as the hexadecimal pattern of their bits.
    func write(to path: String) throws {
        var metadata = ["format": Self.format]
        var sources = tensors.sorted { $0.key < $1.key }.map { TensorSource($0.key, $0.value) }
        for (name, factor) in ternary.sorted(by: { $0.key < $1.key }) {
            let bytes = factor.bytes
            metadata["shape of \(name)"] = "\(factor.rows),\(factor.columns)"
            sources.append(TensorSource(name, .u8, [bytes.count]) { .bytes(bytes) })
        }
        for (name, number) in numbers { metadata["number \(name)"] = String(number.bitPattern, radix: 16) }
        try SafetensorsFile.write(sources, to: path, metadata: metadata)
    }

    init(contentsOf path: String) throws {
        let file = try SafetensorsFile(path)
        guard file.metadata["format"] == Self.format else { throw CheckpointError.damaged(path, "is no state of a run") }
        for name in file.names {
            guard let shape = file.metadata["shape of \(name)"] else {
                tensors[name] = try file.readFloat(name)
                continue
            }
            let extents = shape.split(separator: ",").compactMap { Int($0) }
            guard extents.count == 2, extents.allSatisfy((0...Int(Int32.max)).contains),
                let factor = PackedTernary(bytes: try file.readBytes(name), rows: extents[0], columns: extents[1])
            else { throw CheckpointError.damaged(path, "\(name) is no ternary matrix of \(shape)") }
            ternary[name] = factor
        }
        for (key, text) in file.metadata where key.hasPrefix("number ") {
            guard let bits = UInt64(text, radix: 16) else { throw CheckpointError.damaged(path, "\(key) is \(text)") }
            numbers[String(key.dropFirst("number ".count))] = Double(bitPattern: bits)
        }
    }
}
