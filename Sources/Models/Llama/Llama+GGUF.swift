package import GGUF
internal import HuggingFace
package import Support
internal import TensorCore

// How llama.cpp names and stores models of this family: `gguf-py/gguf/constants.py` and `src/llama-model.cpp` of
// ggml-org/llama.cpp.

extension Llama {
    package static let ggufArchitectures: Set<String> = ["llama", "qwen2", "qwen3"]

    /// The file's name of each parameter of a block, and of the ends.
    private static let blockNames = [
        "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
        "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    ]
    private static let endNames = ["model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"]
    /// Divisors of the rotary frequencies.
    private static let frequencyFactors = "rope_freqs.weight"
    /// What the divisors were made of: factor, low and high frequency factor, original positions. Other programs do not read
    /// it.
    private static let frequencyRecipe = "rope.scaling.sq_train_llama3"

    /// The form that llama.cpp gives the family, or why it cannot run this model.
    package static func gguf(_ c: LlamaConfiguration) -> GGUFSupport {
        if c.family == .qwen3, c.inputBias || c.outputBias {
            return .refused("llama.cpp's qwen3 has no biases of attention, but this model has")
        }
        let architecture = c.family.ggufArchitecture
        // A window shorter than the context: llama.cpp runs this architecture without windows, and up to the window's length
        // there is no difference.
        let window = c.windows.compactMap(\.self).min() ?? c.maximumPositions
        let positions = min(window, c.maximumPositions)
        var values: [(key: String, value: GGUFValue)] = [
            ("vocab_size", .uint32(UInt32(c.vocabularySize))), ("context_length", .uint32(UInt32(positions))),
            ("embedding_length", .uint32(UInt32(c.hiddenSize))), ("block_count", .uint32(UInt32(c.layers))),
            ("feed_forward_length", .uint32(UInt32(c.intermediateSize))),
            ("rope.dimension_count", .uint32(UInt32(c.headDimension))), ("rope.freq_base", .float32(Float(c.rotary.base))),
            ("attention.head_count", .uint32(UInt32(c.heads))), ("attention.head_count_kv", .uint32(UInt32(c.keyValueHeads))),
            ("attention.key_length", .uint32(UInt32(c.headDimension))),
            ("attention.value_length", .uint32(UInt32(c.headDimension))),
            ("attention.layer_norm_rms_epsilon", .float32(c.normEpsilon)),
        ]
        var constants: [(name: String, tensor: Tensor)] = []
        switch c.rotary.kind {
        case .none, .linear(factor: 1): break
        case .linear(let factor):
            values += [("rope.scaling.type", .string("linear")), ("rope.scaling.factor", .float32(Float(factor)))]
        case .llama3 where architecture != "llama":
            return .refused(
                "llama.cpp's \(architecture) has no factors of rotary frequencies (rope_type llama3), but this model has")
        case .llama3(let factor, let low, let high, let positions):
            values.append((frequencyRecipe, .array(.float64, [factor, low, high, positions].map { .float64($0) })))
            constants.append((frequencyFactors, c.rotary.frequencyDivisors(headDimension: c.headDimension)))
        }
        let notes =
            positions < c.maximumPositions
            ? [
                "the file's context is \(positions) tokens, the model's sliding window: llama.cpp runs this architecture "
                    + "without one"
            ]
            : []
        return .form(
            GGUFForm(architecture: architecture, values: values, entries: entries(c), constants: constants, notes: notes))
    }

    private static func entries(_ c: LlamaConfiguration) -> [GGUFForm.Entry] {
        let architecture = Self.architecture(c)
        func entry(_ prefix: String, _ filePrefix: String, _ spec: ParameterSpec, _ names: [String: String]) -> GGUFForm.Entry {
            guard let dot = spec.name.lastIndex(of: "."), let name = names[String(spec.name[..<dot])] else {
                preconditionFailure("\(spec.name) has no name in GGUF")
            }
            let heads = ["attn_q": c.heads, "attn_k": c.keyValueHeads][name]
            return GGUFForm.Entry(
                parameter: prefix + spec.name, name: filePrefix + name + spec.name[dot...], shape: spec.shape, role: spec.role,
                interleavedHeads: c.family.ggufInterleaves ? heads : nil)
        }
        return architecture.entry.map { entry("", "", $0, endNames) }
            + architecture.blocks.flatMap { block in
                block.parameters.map { entry(block.prefix, "blk.\(block.layer).", $0, blockNames) }
            } + architecture.exit.map { entry("", "", $0, endNames) }
    }

    /// The config.json of a file's model.
    package static func configuration(of file: GGUFFile) throws(FileError) -> JSONObject {
        guard let architecture = file["general.architecture"]?.string else {
            throw file.failure("general.architecture", "is missing or not a string")
        }
        let keys = GGUFKeys(file, architecture)
        try checkKnown(keys)
        let hidden = try keys.integer("embedding_length"), heads = try keys.integer("attention.head_count")
        guard heads > 0 else { throw keys.failure("attention.head_count", "is 0") }
        let dimension = try keys.integer("attention.key_length", default: hidden / heads)
        for key in ["attention.value_length", "rope.dimension_count"]
        where try keys.integer(key, default: dimension) != dimension {
            throw keys.failure(key, "is not \(dimension), the length of the keys: this network is not supported")
        }
        var json = JSONObject()
        json["model_type"] = .string(architecture)
        json["architectures"] = [
            .string(["llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"][architecture] ?? "Qwen3ForCausalLM")
        ]
        json["hidden_size"] = .integer(hidden)
        json["num_attention_heads"] = .integer(heads)
        json["num_key_value_heads"] = .integer(try keys.integer("attention.head_count_kv", default: heads))
        json["head_dim"] = .integer(dimension)
        json["intermediate_size"] = .integer(try keys.integer("feed_forward_length"))
        json["num_hidden_layers"] = .integer(try keys.integer("block_count"))
        json["max_position_embeddings"] = .integer(try keys.integer("context_length"))
        json["rms_norm_eps"] = .double(try keys.number("attention.layer_norm_rms_epsilon"))
        json["hidden_act"] = "silu"
        json["tie_word_embeddings"] = .bool(file.info("output.weight") == nil)
        guard let table = file.info("token_embd.weight"), table.shape.count == 2 else {
            throw file.failure("tensor token_embd.weight", "is missing or not a matrix")
        }
        json["vocab_size"] = .integer(table.shape[0])
        json["rope_theta"] = .double(try keys.number("rope.freq_base", default: 10_000))
        if let scaling = try ropeScaling(keys, file, base: keys.number("rope.freq_base", default: 10_000), dimension: dimension)
        {
            json["rope_scaling"] = scaling
        }
        if architecture == "llama" {
            json["attention_bias"] = .bool(file.info("blk.0.attn_output.bias") != nil)
            json["mlp_bias"] = .bool(file.info("blk.0.ffn_down.bias") != nil)
        }
        return json
    }

    /// Read here, or of no consequence for what the network computes.
    private static let knownKeys: Set<String> = [
        "attention.causal", "attention.head_count", "attention.head_count_kv", "attention.key_length",
        "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.sliding_window",
        "attention.value_length", "block_count", "context_length", "embedding_length", "expert_count", "expert_used_count",
        "feed_forward_length", "pooling_type", "rope.dimension_count", "rope.freq_base", "rope.scale_linear",
        "rope.scaling.attn_factor", "rope.scaling.factor", "rope.scaling.finetuned", "rope.scaling.original_context_length",
        "rope.scaling.type", frequencyRecipe, "tensor_data_layout", "vocab_size",
    ]

    /// - Throws: for a value that makes another network of it, and for one that is not known here, which may.
    private static func checkKnown(_ keys: GGUFKeys) throws(FileError) {
        if let unknown = keys.names.first(where: { !knownKeys.contains($0) }) {
            throw keys.failure(unknown, "is not known to this program and may change what the network computes")
        }
        let isCausal = try keys.flag("attention.causal", default: true)
        for (key, isPlain) in [
            ("attention.causal", isCausal),
            ("attention.sliding_window", try keys.integer("attention.sliding_window", default: 0) == 0),
            ("expert_count", try keys.integer("expert_count", default: 0) == 0),
            ("rope.scaling.attn_factor", try keys.number("rope.scaling.attn_factor", default: 1) == 1),
        ] where !isPlain {
            throw keys.failure(key, "has a value that this program does not support")
        }
    }

    /// - Throws: for a scaling that this program does not support, or factors other than those of the known models.
    private static func ropeScaling(
        _ keys: GGUFKeys, _ file: GGUFFile, base: Double, dimension: Int
    ) throws(FileError) -> JSONValue? {
        // As llama.cpp: an older file has the factor alone, by one name or the other.
        let type = try keys.string("rope.scaling.type", default: "linear")
        let given = try keys.number("rope.scaling.factor", default: keys.number("rope.scale_linear", default: 0))
        let factor = given == 0 ? 1 : given
        if let info = file.info(frequencyFactors) {
            guard type == "none" || factor == 1 else {
                throw keys.failure("rope.scaling.factor", "together with \(frequencyFactors): this network is not supported")
            }
            // Before anything is computed for so many.
            guard info.shape.reduce(1, *) == dimension / 2 else {
                throw file.failure(
                    "tensor \(frequencyFactors)", "has shape \(info.shape), and a head has \(dimension / 2) frequencies")
            }
            let factors = try file.read(frequencyFactors)
            // Other programs' files have the divisors only; the recipes of Llama 3.1 and 3.2 are known.
            let known: [[Double]] = [[8, 1, 4, 8192], [32, 1, 4, 8192]]
            let recipes = try keys.numbers(frequencyRecipe).map { [$0] } ?? known
            for recipe in recipes where recipe.count == 4 && recipe.allSatisfy({ $0 > 0 }) && recipe[1] < recipe[2] {
                let kind = RotaryScaling.Kind.llama3(
                    factor: recipe[0], lowFrequency: recipe[1], highFrequency: recipe[2], originalPositions: recipe[3])
                let expected = RotaryScaling(base: base, kind: kind).frequencyDivisors(headDimension: dimension)
                guard (expected - factors.reshaped(expected.shape)).maxMagnitude <= 1e-4 * Float(recipe[0]) else { continue }
                return [
                    "rope_type": "llama3", "factor": .double(recipe[0]), "low_freq_factor": .double(recipe[1]),
                    "high_freq_factor": .double(recipe[2]), "original_max_position_embeddings": .double(recipe[3]),
                ]
            }
            throw file.failure(
                "tensor \(frequencyFactors)", "holds other factors than those of Llama 3.1 and 3.2, which alone are supported")
        }
        switch type {
        case "none": return nil
        case "linear": return factor == 1 ? nil : ["rope_type": "linear", "factor": .double(factor)]
        default: throw keys.failure("rope.scaling.type", "\(type) is not supported; none and linear are")
        }
    }
}

extension LlamaConfiguration.Family {
    /// llama.cpp runs a Mistral as a Llama.
    fileprivate var ggufArchitecture: String { self == .mistral ? "llama" : rawValue }
    /// llama.cpp turns neighbors in these, halves in the others.
    fileprivate var ggufInterleaves: Bool { self == .llama || self == .mistral }
}

extension RotaryScaling {
    /// Unscaled over scaled frequencies, [d/2].
    fileprivate func frequencyDivisors(headDimension d: Int) -> Tensor {
        let plain = RotaryScaling(base: base).frequencies(headDimension: d)
        return Tensor(zip(plain, frequencies(headDimension: d)).map { Float($0 / $1) }, [d / 2])
    }
}

/// Typed access to the values of an architecture.
private struct GGUFKeys {
    private let file: GGUFFile
    private let architecture: String

    init(_ file: GGUFFile, _ architecture: String) { (self.file, self.architecture) = (file, architecture) }

    /// Of all values of the architecture.
    var names: [String] {
        file.values.map(\.key).filter { $0.hasPrefix(architecture + ".") }.map { String($0.dropFirst(architecture.count + 1)) }
    }

    func failure(_ key: String, _ problem: String) -> FileError { file.failure("\(architecture).\(key)", problem) }

    private func typed<Value>(
        _ key: String, _ kind: String, _ default: Value?, _ convert: (GGUFValue) -> Value?
    ) throws(FileError) -> Value {
        guard let value = file["\(architecture).\(key)"] else {
            guard let `default` else { throw failure(key, "is missing; \(kind) is expected") }
            return `default`
        }
        guard let converted = convert(value) else { throw failure(key, "is not \(kind)") }
        return converted
    }

    func integer(_ key: String, default: Int? = nil) throws(FileError) -> Int {
        let value = try typed(key, "an integer", `default`, \.integer)
        guard (0...Int(Int32.max)).contains(value) else { throw failure(key, "\(value) is not between 0 and \(Int32.max)") }
        return value
    }

    /// nil where the key is absent.
    func numbers(_ key: String) throws(FileError) -> [Double]? {
        guard file["\(architecture).\(key)"] != nil else { return nil }
        return try typed(key, "a list of numbers", nil, \.numbers)
    }

    func flag(_ key: String, default: Bool) throws(FileError) -> Bool {
        try typed(key, "true or false", `default`, \.bool)
    }

    func string(_ key: String, default: String) throws(FileError) -> String {
        try typed(key, "a string", `default`, \.string)
    }

    /// A number, of a float the shortest decimal one: what its writer read.
    func number(_ key: String, default: Double? = nil) throws(FileError) -> Double {
        let value = try typed(key, "a number", `default`) { value in
            if case .float32(let number) = value { Double("\(number)") } else { value.number }
        }
        guard value.isFinite else { throw failure(key, "\(value) is not a finite number") }
        return value
    }
}
