package import HuggingFace
package import Models
package import Quantization
internal import TernarySVD

/// The size of a model's weights, with the linear layers in some form and everything else (embedding, head, norms, biases) as
/// in the model's folder.
package struct ModelSize: Sendable, Equatable {
    /// Bytes of all linear layers except the head, with scales.
    package let linearBytes: Int
    /// Number of weights in them.
    package let weights: Int
    package let otherBytes: Int

    /// Bytes of the whole model.
    package var bytes: Int { linearBytes + otherBytes }
    /// 8·(bytes of the linear layers, scales included)/(their weights).
    package var bitsPerWeight: Double { 8 * Double(linearBytes) / Double(max(1, weights)) }
}

/// The sizes of a model's linear layers in different forms. Scales of integers are counted as float32, as they are stored.
package struct ModelSizes: Sendable {
    private let linears: [LinearShape]
    /// Bytes of each linear's weight in the folder.
    private let storedBytes: [Int]
    /// Embedding and head, which may also be rounded.
    private var tables: [ParameterSpec]
    private var tableBytes: [Int]
    private let otherBytes: Int
    /// The head, where the embedding serves as the head.
    private var tiedHead: ParameterSpec?

    private static let scaleBytes = 4

    /// Counts the bytes of a folder's tensors.
    ///
    /// - Parameter type: type of what is not packed, if it is to be written in another type.
    /// - Throws: `FileError` where the folder lacks a tensor of its architecture.
    package init(_ folder: ModelFolder, as type: ElementType? = nil) throws {
        func bytes(_ weight: String) throws -> Int {
            if let packed = folder.packed, packed.weights.contains(weight) { return try packed.byteCount(of: weight) }
            let info = try folder.checkpoint.info(weight)
            return type.map { info.byteRange.count / info.type.size * $0.size } ?? info.byteRange.count
        }
        (linears, tables) = (folder.architecture.linears, folder.architecture.tableSpecs)
        storedBytes = try linears.map { try bytes($0.name + ".weight") }
        tableBytes = try tables.map { try bytes($0.name) }
        tiedHead = folder.architecture.tiesHead ? folder.architecture.head : nil
        let names = Set(linears.map { $0.name + ".weight" } + tables.map(\.name))
        otherBytes = try folder.architecture.parameters().named.filter { !names.contains($0.name) }.reduce(0) {
            $0 + (try bytes($1.name))
        }
    }

    /// Sizes with a separate head, as large as the embedding that served as the head: where norms are folded, or where
    /// embedding and head are rounded differently.
    package var untied: ModelSizes {
        guard let tiedHead, let embedding = tables.firstIndex(where: { $0.role == .embedding }) else { return self }
        var result = self
        result.tiedHead = nil
        result.tables.append(tiedHead)
        result.tableBytes.append(tableBytes[embedding])
        return result
    }

    /// - Parameter bytes: bytes of a linear's weight.
    private func size(_ bytes: (Int) -> Int) -> ModelSize {
        ModelSize(
            linearBytes: linears.indices.reduce(0) { $0 + bytes($1) },
            weights: linears.reduce(0) { $0 + $1.shape[0] * $1.shape[1] },
            otherBytes: tableBytes.reduce(otherBytes, +))
    }

    /// The size as in the folder.
    package var stored: ModelSize { size { storedBytes[$0] } }

    /// The size with every linear as integers of a few bits, with a float32 scale for each group and, if not symmetric, a zero
    /// point of as many bits; nil: as in the folder.
    ///
    /// - Parameter names: the linears that are rounded; nil for all.
    package func rounded(by quantizer: WeightQuantizer?, only names: Set<String>? = nil) -> ModelSize {
        size { index in
            guard let quantizer, names?.contains(linears[index].name) ?? true else { return storedBytes[index] }
            return bytes(of: linears[index].shape, quantizer) ?? storedBytes[index]
        }
    }

    /// The size with each linear, embedding and head as integers of its own quantizer, where it has one.
    ///
    /// - Parameters:
    ///   - linear: the quantizer by a linear's name; nil where it is as in the folder. `table`: that of the embedding or the
    ///     head.
    package func rounded(
        by linear: (_ name: String) -> WeightQuantizer?, table: (ParameterSpec.Role) -> WeightQuantizer?
    ) -> ModelSize {
        let bytes = linears.indices.reduce(0) { sum, index in
            sum + (linear(linears[index].name).flatMap { self.bytes(of: linears[index].shape, $0) } ?? storedBytes[index])
        }
        let others = tables.indices.reduce(otherBytes) { sum, index in
            sum + (table(tables[index].role).flatMap { self.bytes(of: tables[index].shape, $0) } ?? tableBytes[index])
        }
        return ModelSize(linearBytes: bytes, weights: stored.weights, otherBytes: others)
    }

    /// nil where the quantizer does not round.
    private func bytes(of shape: [Int], _ quantizer: WeightQuantizer) -> Int? {
        let spec = quantizer.spec
        guard spec.isActive else { return nil }
        let (out, inputs) = (shape[0], shape[1])
        let groups =
            switch spec.granularity {
            case .tensor: 1
            case .channel, .token: out
            case .column: inputs
            case .group(let size), .head(let size): out * (inputs / size)
            }
        let bits = out * inputs * spec.bits + (spec.symmetric ? 0 : groups * spec.bits)
        return (bits + 7) / 8 + groups * Self.scaleBytes
    }

    /// The size with the linears that have factors stored as these, counting all bytes of the file; the others as in the
    /// folder.
    ///
    /// - Parameter file: the file of factors.
    package func ternary(file: String) throws -> ModelSize {
        let layers = try TernaryFile.layers(of: file)
        return size { layers[linears[$0].name]?.byteCount ?? storedBytes[$0] }
    }

    /// 8·(bytes of the file)/(weights of the linears that have factors in it); nil where all linears of the model have factors.
    package func bitsOfSome(file: String) throws -> Double? {
        let layers = try TernaryFile.layers(of: file)
        guard layers.count < linears.count else { return nil }
        let weights = layers.values.reduce(0) { $0 + $1.shape[0] * $1.shape[1] }
        return 8 * Double(layers.values.reduce(0) { $0 + $1.byteCount }) / Double(max(1, weights))
    }
}
