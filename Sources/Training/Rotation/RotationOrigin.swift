internal import Collectives
internal import HuggingFace
internal import Models
internal import Rotation

extension LanguageModelRun {
    /// Says so where `rotations.safetensors` was learned for another model or for other bits than it is used for here: allowed,
    /// since a fine-tuned model may well use its parent's rotations, but seldom meant. Collective.
    func noteOrigin(ofRotations path: String?) throws {
        guard let path else { return }
        let world = context.communicator
        try world.agree {
            guard world.isRoot else { return }
            let origin = try Rotations.metadata(of: path)
            if let model = origin["model_sha256"], try model != inputs.folder.checkpoint.digest() {
                context.reporter.note("note: \(path) was learned for a model with other weights than \(inputs.folder.path)")
            }
            let quantization = context.config.quantization
            for (key, bits) in [
                ("weight", quantization.weights.bits), ("activation", quantization.activations.bits), ("kv", quantization.kv.bits),
            ] {
                if let learned = origin["\(key)_bits"], learned != String(bits) {
                    context.reporter.note("note: \(path) was learned for \(learned) \(key) bits and is used for \(bits)")
                }
            }
        }
    }
}
