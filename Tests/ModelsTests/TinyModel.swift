import HuggingFace
import Models
import Support
import TensorCore
import TestSupport

/// A random model of a few thousand parameters and its folder.
enum TinyModel {
    static func configuration(windows: [Int?] = [], tied: Bool = false) -> LlamaConfiguration {
        LlamaConfiguration(
            family: .llama, vocabularySize: 32, hiddenSize: 16, intermediateSize: 24, layers: max(2, windows.count), heads: 2,
            keyValueHeads: 1, headDimension: 8, maximumPositions: 64, normEpsilon: 1e-5, rotary: .init(base: 10_000),
            tiedEmbeddings: tied, inputBias: false, outputBias: false, feedForwardBias: false, windows: windows)
    }

    static func parameters(_ configuration: LlamaConfiguration, seed: UInt64 = 1) -> Parameters<Tensor> {
        var random = RandomStream(seed: seed)
        return configuration.architecture.parameters().map { _, spec in
            Tensor(normal: spec.shape, deviation: 0.3, from: &random)
        }
    }

    /// What config.json says of it.
    static let json: JSONValue = [
        "model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    ]

    /// config.json with keys set; nil removes one.
    static func config(_ changes: [String: JSONValue?] = [:]) -> HFConfig {
        var object = json.object ?? JSONObject()
        for (key, value) in changes { object[key] = value }
        return HFConfig(object, path: "config.json")
    }

    /// Writes a folder of it.
    ///
    /// - Parameter change: of the tensors.
    static func write(
        to folder: String, _ changes: [String: JSONValue?] = [:], change: (inout [TensorSource]) -> Void = { _ in }
    ) throws {
        try AtomicFile.write(config(changes).text, to: folder + "/config.json")
        var sources = parameters(configuration()).named.map { TensorSource($0.name, $0.value) }
        change(&sources)
        try Checkpoint.write(sources, to: folder)
    }
}
