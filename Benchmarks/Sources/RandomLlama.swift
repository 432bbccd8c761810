internal import ArgumentParser
internal import HuggingFace
internal import Models
internal import Support
internal import TensorCore

/// Writes a Llama of a given shape with random weights, and random token sequences to run it on.
struct RandomLlama: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "random-llama", abstract: "Writes a random Llama folder, with tokens.safetensors to run it on.")

    @Option(help: "Width of the residual stream.")
    var hidden = 1024
    @Option(help: "Layers.")
    var layers = 4
    @Option(help: "Width between gate, up and down.")
    var intermediate = 2816
    @Option(help: "Tokens the model knows.")
    var vocabulary = 8192
    @Option(help: "Attention heads.")
    var heads = 16
    @Option(help: "Heads of keys and values; as many as --heads if not given.")
    var keyValueHeads: Int?
    @Option(help: "Sequences of random tokens.")
    var sequences = 32
    @Option(help: "Tokens in a sequence.")
    var length = 1024
    @Option(help: "Type of the weights: F32, F16 or BF16.")
    var type = "BF16"
    @Option(help: "Seed of weights and tokens.")
    var seed: UInt64 = 1
    @Option(help: "The folder to write.")
    var out: String

    private var elementType: ElementType? { ["F32": .f32, "F16": .f16, "BF16": .bf16][type] }

    func validate() throws {
        let sizes = [hidden, layers, intermediate, vocabulary, heads, keyValueHeads ?? heads, sequences, length]
        guard sizes.allSatisfy({ (1...1 << 24).contains($0) }) else {
            throw ValidationError("sizes must be from 1 to \(1 << 24)")
        }
        guard hidden % (2 * heads) == 0, heads % (keyValueHeads ?? heads) == 0 else {
            throw ValidationError("--hidden must be an even multiple of --heads, and --heads a multiple of --key-value-heads")
        }
        guard elementType != nil else { throw ValidationError("--type must be F32, F16 or BF16") }
    }

    func run() throws {
        guard let elementType else { preconditionFailure("validated") }
        let config = HFConfig(json, path: out + "/config.json")
        let folder = try HFFolderWriter(out)
        try folder.write(config.text, as: "config.json")
        var sources: [TensorSource] = []
        var parameters = 0
        for (index, (name, spec)) in try LlamaConfiguration(config).architecture.parameters().named.enumerated() {
            let shape = spec.shape
            parameters += shape.reduce(1, *)
            sources.append(
                TensorSource(name, elementType, shape) {
                    if shape.count == 1 { return .floats(Tensor(repeating: 1, shape)) }
                    // 1/√in keeps the size of what passes through.
                    var random = RandomStream(seed: seed, stream: UInt64(index))
                    return .floats(Tensor(normal: shape, deviation: 1 / Double(shape[1]).squareRoot(), from: &random))
                })
        }
        try Checkpoint.write(sources, to: folder.temporaryPath)
        var random = RandomStream(seed: seed, stream: UInt64(sources.count))
        let tokens = (0..<sequences * length).map { _ in Int(random.next() % UInt64(vocabulary)) }
        let input = TensorSource("input_ids", integers: tokens, [sequences, length])
        try SafetensorsFile.write([input], to: folder.file("tokens.safetensors"), metadata: Checkpoint.ownMetadata)
        try folder.commit()
        var table = Table(columns: ["written", ""])
        table.add(["model", out])
        table.add(["parameters", "\(parameters)"])
        table.add(["tokens", "\(out)/tokens.safetensors [\(sequences), \(length)]"])
        print(table.text)
    }

    /// The members of config.json.
    private var json: JSONObject {
        let value: JSONValue = [
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": .integer(hidden), "intermediate_size": .integer(intermediate),
            "num_hidden_layers": .integer(layers), "num_attention_heads": .integer(heads),
            "num_key_value_heads": .integer(keyValueHeads ?? heads), "vocab_size": .integer(vocabulary),
            "max_position_embeddings": .integer(max(length, 2048)), "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "attention_bias": false, "mlp_bias": false,
        ]
        return value.object ?? JSONObject()
    }
}
