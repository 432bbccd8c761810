internal import Autograd
package import HuggingFace
package import TensorCore

/// How weights that a job leaves as they are rest in memory; computing is in float32 either way.
package enum WeightStorage: String, Sendable, CaseIterable { case f32, bf16 }

extension TensorValue {
    /// To be written; what is made on demand is made when its turn comes.
    func source(named name: String, as type: ElementType) -> TensorSource {
        TensorSource(name, type, shape) { .floats(tensor) }
    }
}

/// A Hugging Face folder that holds a model.
package struct ModelFolder: Sendable {
    package let path: String
    /// The configuration as read, to be passed through to folders made from this one.
    package let config: HFConfig
    package let description: ModelDescription
    package let checkpoint: Checkpoint
    package var architecture: Architecture { description.architecture }

    /// Reads the configuration and checks that the checkpoint's tensors are those it asks for; no weight is read yet.
    ///
    /// - Throws: ``HuggingFaceError`` for what is missing, not of this family, or has another shape.
    package init(_ path: String) throws {
        self.path = path
        config = try HFConfig(path + "/config.json")
        description = try ModelRegistry.model(config)
        checkpoint = try Checkpoint(path)
        var expected = Set<String>()
        for (name, spec) in description.architecture.parameters().named {
            expected.insert(name)
            let shape = spec.shape
            let found = try checkpoint.info(name).shape
            guard found == shape else {
                throw HuggingFaceError(.malformed, "\(path): tensor \(name)", "has shape \(found); config.json says \(shape)")
            }
        }
        let head = description.architecture.head.name
        // Old checkpoints store the rotary angles, and some tied ones the head a second time: both follow from the rest.
        let known = checkpoint.names.filter { $0.hasSuffix(".rotary_emb.inv_freq") || $0 == head }
        if let stranger = checkpoint.names.first(where: { !expected.contains($0) && !known.contains($0) }) {
            throw HuggingFaceError(
                .malformed, "\(path): tensor \(stranger)", "belongs to no layer of the model that config.json describes")
        }
    }

    /// Reads the weights as float32, of these layers (and what belongs to their stage) or of all: of the files only the bytes of
    /// these tensors are touched.
    package func parameters(_ stage: Range<Int>? = nil) throws(HuggingFaceError) -> Parameters<Tensor> {
        try architecture.parameters(stage).map { name, spec throws(HuggingFaceError) in
            try checkpoint.read(name, shape: spec.shape)
        }
    }

    /// The same weights at rest, for a job that leaves them as they are.
    ///
    /// An embedding that is looked up only stays in bfloat16 where the file has it so: nothing is lost by that.
    ///
    /// - Parameter storage: bfloat16 keeps every matrix in half the memory; it rounds what the files hold more precisely.
    package func parameters(
        _ stage: Range<Int>?, storage: WeightStorage
    ) throws(HuggingFaceError) -> Parameters<StoredTensor> {
        try architecture.parameters(stage).map { name, spec throws(HuggingFaceError) in
            let tensor = try checkpoint.read(name, shape: spec.shape)
            if storage == .bf16 && spec.shape.count == 2 { return StoredTensor(roundingToBFloat16: tensor) }
            let isHalf = try checkpoint.info(name).type == .bf16
            let isTable = spec.role == .embedding && !architecture.tiesHead
            return isTable && isHalf ? StoredTensor(packing: tensor) : StoredTensor(tensor)
        }
    }

    /// Writes a folder with other parameters for the same graph: config.json, weights, tokenizer and generation files.
    ///
    /// - Parameters:
    ///   - parameters: of the whole model; see ``ModelFolderWriter`` for stages.
    ///   - type: F32, F16 or BF16.
    ///   - folder: replaced as a whole, or left as it was if anything fails.
    package func write(_ parameters: Parameters<some TensorValue>, as type: ElementType, to folder: String) throws {
        let writer = try HFFolderWriter(folder)
        try Checkpoint.write(parameters.named.map { $0.value.source(named: $0.name, as: type) }, to: writer.temporaryPath)
        try finish(writer, as: type, tied: parameters.tiesHead)
    }

    /// Adds all but the weights, and gives the folder its name.
    func finish(_ writer: HFFolderWriter, as type: ElementType, tied: Bool) throws(HuggingFaceError) {
        var config = config
        config.json["tie_word_embeddings"] = .bool(tied)
        let typeName: JSONValue = type == .f32 ? "float32" : type == .f16 ? "float16" : "bfloat16"
        // transformers 5 reads dtype, older versions torch_dtype.
        config.json["dtype"] = typeName
        config.json["torch_dtype"] = typeName
        try writer.write(config.text, as: "config.json")
        try writer.copy(from: path)
        try writer.commit()
    }
}
