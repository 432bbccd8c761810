import HuggingFace
import Models
import Support
import TensorCore
import TestSupport

extension ExportedModel {
    /// A model whose linear layers are −0.0625, 0 and 0.0625, of one width.
    ///
    /// - Parameter damaged: one weight is another number.
    init(_ name: String, ternaryWidth width: Int, damaged: Bool = false) throws {
        try self.init()
        let golden = try ModelFolder(file("model"))
        var config = golden.config
        let sizes = [
            "hidden_size": width, "intermediate_size": width, "num_attention_heads": 4, "num_key_value_heads": 4,
            "head_dim": width / 4, "vocab_size": 256,
        ]
        for (key, value) in sizes { config.json[key] = .integer(value) }
        try removeTree(file("model/model.safetensors"))
        try AtomicFile.write(config.text, to: file("model/config.json"))
        var random = RandomStream(seed: 9)
        let parameters = try ModelRegistry.model(config).architecture.parameters().mapSpecs { name, spec, _ in
            guard spec.ports != nil else { return Tensor(normal: spec.shape, deviation: 0.5, from: &random) }
            var tensor = Tensor((0..<spec.count).map { _ in Float(Int.random(in: -1...1, using: &random)) / 16 }, spec.shape)
            if damaged, name.contains("1.mlp.down") { tensor[3, 7] = 0.05 }
            return tensor
        }
        try Checkpoint.write(parameters.named.map { TensorSource($0.name, $0.value, as: .f16) }, to: file("model"))
    }
}
