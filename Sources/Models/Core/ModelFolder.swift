internal import Autograd
package import HuggingFace
internal import LinearAlgebra
package import Support
package import TensorCore

/// How weights that a job leaves as they are rest: in memory, or for matrices in the file they are read from. Computing is in
/// float32 either way.
package enum WeightStorage: String, Sendable, CaseIterable { case f32, bf16, file }

/// A Hugging Face folder that holds a model.
package struct ModelFolder: Sendable {
    package let path: String
    /// The configuration as read, less what is not true of folders made from this one.
    package let config: HFConfig
    package let description: ModelDescription
    package let checkpoint: Checkpoint
    package var architecture: Architecture { description.architecture }
    /// The linears that are not floats; nil where all are.
    package private(set) var packed: (any PackedWeights)?
    /// What the user should know of how the folder was read, a sentence each.
    package let warnings: [String]

    /// Reads the configuration and checks that the checkpoint's tensors are those it asks for; no weight is read yet, but for a
    /// head that is stored beside the embedding it is said to share.
    ///
    /// - Parameter packed: finds linears that are not stored as floats; without it they are refused.
    /// - Throws: ``FileError`` for what is missing, of no family, already quantized, or has another shape; what `packed`
    ///   throws.
    package init(_ path: String, packed: PackedWeightsReader = { _, _, _ in nil }) throws {
        self.path = path
        var (config, warnings) = (try PackedModelType.restored(ModelRegistry.configuration(ofFolder: path)), [String]())
        var description = try ModelRegistry.model(config)
        checkpoint = try Checkpoint(path)
        self.packed = try packed(checkpoint, config, description.architecture)
        try FolderTensors(checkpoint, config, self.packed).check(description.architecture)
        warnings += self.packed?.warnings ?? []
        if description.architecture.tiesHead, try checkpoint.hasHeadOfItsOwn(description.architecture) {
            config.json["tie_word_embeddings"] = false
            description = try ModelRegistry.model(config)
            warnings.append(
                "config.json says tie_word_embeddings, but \(description.architecture.head.name) is stored and differs from "
                    + "the embedding: the stored head is used")
        }
        if let warning = config.overruledRotaryBase { warnings.append(warning) }
        for key in HFConfig.quantizationKeys where config.has(key) && self.packed == nil {
            warnings.append(
                "config.json has \(key), but the weights are plain floats: it is ignored, and left out of what is written")
        }
        if config.has("auto_map") {
            warnings.append(
                "config.json names code of the folder's own (auto_map), which is not run: the model is taken for the "
                    + "\(description.architecture.type) it says it is")
        }
        for key in HFConfig.quantizationKeys + ["auto_map", PackedModelType.key] { config.json[key] = nil }
        (self.config, self.description, self.warnings) = (config, description, warnings)
    }

    /// The same folder with weights that are read otherwise.
    package func replacing(_ weights: any PackedWeights) -> ModelFolder {
        var result = self
        result.packed = weights
        return result
    }

    /// The type of all the model's float tensors where it is one of those that are written, else float32, to which float64 is
    /// rounded.
    package var elementType: ElementType {
        get throws(FileError) {
            var types = Set<ElementType>()
            for (name, _) in architecture.parameters().named where !(packed?.weights.contains(name) ?? false) {
                types.insert(try checkpoint.info(name).type)
            }
            return types.count == 1 && (types.contains(.bf16) || types.contains(.f16)) ? types.first ?? .f32 : .f32
        }
    }

    /// A parameter as float32, unpacked where it is packed.
    package func tensor(_ name: String, shape: [Int]) throws -> Tensor {
        if let packed, packed.weights.contains(name) { return try packed.read(name).tensor }
        return try checkpoint.read(name, shape: shape)
    }

    /// Reads the weights as float32, of these layers (and what belongs to their stage) or of all: of the files only the bytes
    /// of these tensors are touched. Packed linears are unpacked.
    package func parameters(_ stage: Range<Int>? = nil) throws -> Parameters<Tensor> {
        try architecture.parameters(stage).map { name, spec in try tensor(name, shape: spec.shape) }
    }

    /// The same weights at rest, for a job that leaves them as they are: packed linears as they are.
    ///
    /// An embedding that is looked up only stays in bfloat16 where the file has it so: nothing is lost by that.
    ///
    /// - Parameter storage: bfloat16 keeps every matrix in half the memory; it rounds what the files hold more precisely. In
    ///   its file a matrix takes no memory but while somebody computes with it.
    package func parameters(_ stage: Range<Int>?, storage: WeightStorage) throws -> Parameters<StoredTensor> {
        try architecture.parameters(stage).map { name, spec in
            if let packed, packed.weights.contains(name) { return StoredTensor(try packed.read(name)) }
            if storage == .file && spec.shape.count == 2 {
                return StoredTensor(try FileMatrix(name, spec.shape, of: checkpoint))
            }
            let tensor = try checkpoint.read(name, shape: spec.shape)
            if storage == .bf16 && spec.shape.count == 2 { return StoredTensor(roundingToBFloat16: tensor) }
            let isHalf = try checkpoint.info(name).type == .bf16
            let isTable = spec.role == .embedding && !architecture.tiesHead
            return isTable && isHalf ? StoredTensor(packing: tensor) : StoredTensor(tensor)
        }
    }

    /// A matrix that is not packed and that the files hold more precisely than in bfloat16; nil where there is none.
    package func matrixBeyondBFloat16() throws(FileError) -> String? {
        for (name, spec) in architecture.parameters().named
        where spec.shape.count == 2 && packed?.weights.contains(name) != true {
            if try checkpoint.info(name).type != .bf16 { return name }
        }
        return nil
    }

    /// The same weights for a network that runs one token at a time: each matrix in the type that the file has it in, packed
    /// linears as they are.
    ///
    /// - Parameter stage: the blocks to read; nil for all.
    package func runnableParameters(_ stage: Range<Int>? = nil) throws -> Parameters<StoredTensor> {
        try architecture.parameters(stage).map { name, spec in
            if let packed, packed.weights.contains(name) { return StoredTensor(try packed.read(name)) }
            let tensor = try checkpoint.read(name, shape: spec.shape)
            guard spec.shape.count == 2 else { return StoredTensor(tensor) }
            let form: FloatMatrix.Form =
                switch try checkpoint.info(name).type {
                case .bf16: .bfloat16
                case .f16: .float16
                default: .float32
                }
            return StoredTensor(FloatMatrix(tensor, as: form))
        }
    }

    /// Adds all but the weights, and gives the folder its name.
    ///
    /// - Parameter more: members of config.json that say how the weights are packed.
    package func finish(
        _ writer: HFFolderWriter, as type: ElementType, tied: Bool, more: JSONObject = JSONObject()
    ) throws(FileError) {
        var config = config
        for (key, value) in more.members { config.json[key] = value }
        config.json["tie_word_embeddings"] = .bool(tied)
        config.setElementType(type)
        try writer.write(config.text, as: "config.json")
        try writer.copy(from: path)
        try writer.commit()
    }
}
