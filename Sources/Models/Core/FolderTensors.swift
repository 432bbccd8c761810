internal import HuggingFace
internal import Support
internal import TensorCore

extension HFConfig {
    /// The keys under which config.json describes quantized weights: of transformers, of old llm-compressor, of MLX.
    static let quantizationKeys = ["quantization_config", "compression_config", "quantization"]

    /// The method by which the weights are quantized, as config.json has it; nil if it has none.
    fileprivate var quantizationMethod: String? {
        guard let key = Self.quantizationKeys.first(where: has) else { return nil }
        return value(key)?["quant_method"]?.string ?? key
    }
}

/// The check that a checkpoint's tensors are those a configuration asks for, and no others.
struct FolderTensors {
    private let checkpoint: Checkpoint
    private let config: HFConfig
    private let packed: (any PackedWeights)?

    init(_ checkpoint: Checkpoint, _ config: HFConfig, _ packed: (any PackedWeights)?) {
        (self.checkpoint, self.config, self.packed) = (checkpoint, config, packed)
    }

    /// Of what quantizers store: the last parts of tensors' names, and whose they are.
    private static let quantized: [(suffix: String, method: String)] = [
        ("weight_packed", "compressed-tensors"), ("weight_scale", "compressed-tensors"),
        ("weight_zero_point", "compressed-tensors"),
        ("weight_shape", "compressed-tensors"), ("weight_g_idx", "compressed-tensors"),
        ("weight_global_scale", "compressed-tensors"),
        ("input_scale", "compressed-tensors"), ("input_zero_point", "compressed-tensors"),
        ("output_scale", "compressed-tensors"),
        ("k_scale", "compressed-tensors"), ("v_scale", "compressed-tensors"), ("weight_scale_inv", "fp8"),
        ("qweight", "gptq or awq"), ("qzeros", "gptq or awq"), ("scales", "gptq, awq or mlx"), ("g_idx", "gptq"),
        ("biases", "mlx"),
        ("SCB", "bitsandbytes"), ("weight_format", "bitsandbytes"), ("absmax", "bitsandbytes"),
        ("nested_absmax", "bitsandbytes"),
        ("quant_map", "bitsandbytes"), ("nested_quant_map", "bitsandbytes"), ("W_q", "hqq"), ("codebooks", "aqlm"),
        ("U_packed", binary), ("V_packed", binary),
    ]

    /// Tensors beside supported integers that ask for something unsupported, with the reason.
    private static let beyond: [String: String] = {
        let (inputs, outputs) = ("a fixed range of the layer's inputs", "a fixed range of what the layer computes")
        let dynamic = "; this program computes ranges for each token (dynamic)"
        return [
            "weight_g_idx":
                "gives each input its group, in the order of activations (actorder), but this program reads groups of "
                + "neighboring inputs; quantize with actorder weight or null",
            "weight_global_scale": "is a scale of scales, of weights of 4-bit floats; this program reads integers",
            "input_scale": "is \(inputs)\(dynamic)", "input_zero_point": "is \(inputs)\(dynamic)",
            "output_scale": "is \(outputs)\(dynamic)", "k_scale": "is a fixed range of the cache's keys\(dynamic)",
            "v_scale": "is a fixed range of the cache's values\(dynamic)",
        ]
    }()

    /// - Throws: ``FileError`` for a tensor that is quantized, missing, of another shape, or of no layer.
    func check(_ architecture: Architecture) throws(FileError) {
        let known = packed?.tensors ?? []
        for name in checkpoint.names where !known.contains(name) {
            let last = String(name.split(separator: ".").last ?? "")
            if packed != nil, let problem = Self.beyond[last] {
                throw FileError(.malformed, "\(checkpoint.folder): tensor \(name)", problem)
            }
            let method = Self.quantized.first { $0.suffix == last }?.method
            guard let method = method ?? (name.contains(".quant_state.") ? "bitsandbytes" : nil) else { continue }
            throw alreadyQuantized(name, by: config.quantizationMethod ?? method)
        }
        var expected = known
        for (name, spec) in architecture.parameters().named where !(packed?.weights.contains(name) ?? false) {
            expected.insert(name)
            let info = try checkpoint.info(name)
            guard info.type.isFloat else { throw alreadyQuantized(name, by: config.quantizationMethod ?? info.type.rawValue) }
            guard info.shape == spec.shape else {
                throw FileError(
                    .malformed, "\(checkpoint.folder): tensor \(name)",
                    "has shape \(info.shape); config.json says \(spec.shape)")
            }
        }
        // Old checkpoints store the rotary angles, which follow from config.json; tied ones may store the head again.
        if architecture.tiesHead { expected.insert(architecture.head.name) }
        let unexpected = checkpoint.names.filter { !expected.contains($0) && !$0.hasSuffix(".rotary_emb.inv_freq") }
        if let name = unexpected.first {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(name)",
                "belongs to no layer of the model that config.json describes")
        }
    }

    private func alreadyQuantized(_ name: String, by method: String) -> FileError {
        let advice =
            method == Self.binary
            ? "NanoQuant's folders have U_packed and V_packed of a linear, and a file nanoquant_config.json"
            : "give the folder it was made from"
        return FileError(
            .malformed, "\(checkpoint.folder): tensor \(name)", "the model is already quantized (\(method)); \(advice)")
    }

    private static let binary = "nanoquant"
}

extension Checkpoint {
    /// Whether a head is stored that is not the embedding's values once more. - Precondition: the embedding was checked.
    func hasHeadOfItsOwn(_ architecture: Architecture) throws(FileError) -> Bool {
        let (name, shape) = (architecture.head.name, architecture.head.shape)
        guard contains(name), let table = architecture.embedding?.name else { return false }
        let found = try info(name)
        guard found.shape == shape else {
            throw FileError(.malformed, "\(folder): tensor \(name)", "has shape \(found.shape); config.json says \(shape)")
        }
        guard found.type.isFloat else {
            throw FileError(
                .malformed, "\(folder): tensor \(name)",
                "holds \(found.type.rawValue) numbers, but nothing says how to convert them to weights")
        }
        // An embedding of packed integers is no head of floats.
        guard contains(table) else { return true }
        // Groups of rows, so that neither is held whole.
        let step = max(1, (1 << 22) / max(1, shape[1]))
        for first in stride(from: 0, to: shape[0], by: step) {
            let rows = first..<min(first + step, shape[0])
            let (head, embedding) = (try read(name, rows: rows), try read(table, rows: rows))
            if !(0..<head.count).allSatisfy({ head[flat: $0] == embedding[flat: $0] }) { return true }
        }
        return false
    }
}
