internal import HuggingFace
internal import Models
internal import Quantization
internal import Support

/// What config.json says of packed weights (`quantization_config`).
///
/// A folder that other readers of compressed-tensors can run as well says so; any other names a method of this program's own,
/// which they refuse instead of running it as something else.
package struct WeightPacking {
    static let key = "quantization_config", ownMethod = "sq-train", sharedMethod = "compressed-tensors"

    /// How integers lie in the checkpoint.
    package enum Layout: String, Sendable {
        /// ``IntegerTensors``: b bits each.
        case packed = "pack-quantized"
        /// A byte each, `NAME.weight` in I8: what other programs read where inputs are quantized, too.
        case bytes = "int-quantized"
    }

    private struct Group {
        let targets: [String]
        let spec: QuantizerSpec
        /// What is done to these linears' inputs.
        let execution: Execution
    }

    let isOwn: Bool
    let layout: Layout
    /// Of all linears.
    let execution: Execution
    let hasFactors: Bool
    private let groups: [Group]
    /// Linears that are said to be as they were.
    private let ignored: Set<String>

    /// - Returns: nil where the key is absent.
    init?(_ config: HFConfig) throws(FileError) {
        guard let keys = try config.object(Self.key), try keys.string("quant_method", default: "") != "" else { return nil }
        let method = try keys.string("quant_method")
        // Others' methods are named where their tensors are found.
        guard method == Self.ownMethod || method == Self.sharedMethod else { return nil }
        isOwn = method == Self.ownMethod
        try keys.allow([
            "quant_method", "format", "config_groups", "ignore", "quantization_status", "version", "ternary_file",
            "global_compression_ratio", "sparsity_config", "transform_config", "kv_cache_scheme",
        ])
        for key in ["sparsity_config", "transform_config", "kv_cache_scheme"] {
            guard let value = keys.value(key), value.object?.count != 0 else { continue }
            throw keys.failure(key, "is not supported; this program runs packed integer weights without it")
        }
        hasFactors = keys.has("ternary_file")
        if hasFactors {
            guard isOwn, try keys.string("ternary_file") == CompressedFolder.factorFileName else {
                throw keys.failure("ternary_file", "is not \(CompressedFolder.factorFileName)")
            }
        }
        ignored = Set(try keys.strings("ignore", default: []))
        guard let described = try keys.object("config_groups") else {
            guard hasFactors else { throw keys.failure("config_groups", "is missing") }
            (groups, layout, execution) = ([], .packed, .plain)
            return
        }
        guard let layout = Layout(rawValue: try keys.string("format")) else {
            throw keys.failure(
                "format", "\(try keys.string("format")) is not supported; this program reads pack-quantized and int-quantized")
        }
        var groups: [Group] = []
        for key in described.json.keys { groups.append(try Self.group(try described.required(key))) }
        guard groups.allSatisfy({ $0.execution == groups[0].execution }) else {
            throw keys.failure("config_groups", "quantize the inputs of some linears otherwise than those of others")
        }
        (self.groups, self.layout, execution) = (groups, layout, groups.first?.execution ?? .plain)
    }

    /// `input_activations`: dynamic, a range for each token.
    private static func inputs(_ keys: HFConfig?) throws(FileError) -> Execution {
        var execution = Execution.plain
        guard let keys else { return execution }
        try keys.allow([
            "num_bits", "type", "symmetric", "strategy", "dynamic", "observer", "observer_kwargs", "scale_dtype", "zp_dtype",
        ])
        guard try keys.string("strategy") == "token", try keys.bool("dynamic"), try keys.string("type") == "int" else {
            throw keys.failure("strategy", "is not supported; inputs are quantized as int, by token, dynamic")
        }
        execution.activationBits = try keys.bits("num_bits")
        execution.activationSymmetric = try keys.bool("symmetric")
        execution.activationPerHead = false
        return execution
    }

    private static func group(_ keys: HFConfig) throws(FileError) -> Group {
        try keys.allow(["targets", "weights", "format", "input_activations"])
        let weights = try keys.required("weights")
        try weights.allow([
            "num_bits", "type", "symmetric", "strategy", "group_size", "dynamic", "observer", "observer_kwargs", "scale_dtype",
            "zp_dtype",
        ])
        let bits = try weights.bits("num_bits")
        guard bits <= 8, try weights.string("type") == "int" else {
            throw weights.failure("type", "and num_bits must be int and 2 to 8")
        }
        guard try !weights.bool("dynamic", default: false) else { throw weights.failure("dynamic", "is true for weights") }
        let strategy = try weights.string("strategy")
        // Some writers say −1 for a row.
        if strategy != "group", let size = weights.value("group_size"), size != .null, size.integer != -1 {
            throw weights.failure("group_size", "belongs to the strategy group, and strategy is \(strategy)")
        }
        let granularity: QuantizerGranularity =
            switch strategy {
            case "tensor": .tensor
            case "channel": .channel
            case "group": .group(try weights.extent("group_size"))
            default: throw weights.failure("strategy", "\(strategy) is not supported; tensor, channel and group are")
            }
        return Group(
            targets: try keys.strings("targets"),
            spec: QuantizerSpec(bits: bits, symmetric: try weights.bool("symmetric"), granularity: granularity),
            execution: try inputs(try keys.object("input_activations")))
    }

    /// How a linear is packed: as the group that names it says, or the one of all linears.
    ///
    /// - Throws: ``FileError`` where none does, or groups do not divide its inputs.
    func spec(of linear: LinearShape, _ config: HFConfig) throws(FileError) -> QuantizerSpec {
        guard !ignored.contains(linear.name) else {
            throw config.failure(Self.key, "lists \(linear.name) under ignore, and its weight is packed")
        }
        let named = groups.first { $0.targets.contains(linear.name) } ?? groups.first { $0.targets.contains("Linear") }
        guard let spec = named?.spec else {
            throw config.failure(
                Self.key, "has no group for \(linear.name), which is packed (targets: a layer's name, or Linear)")
        }
        if case .group(let size) = spec.granularity, linear.shape[1] % size != 0 {
            throw config.failure(Self.key, "groups of \(size) do not divide the \(linear.shape[1]) inputs of \(linear.name)")
        }
        return spec
    }
}

// MARK: - Writing

extension WeightPacking {
    /// The value of ``key`` for a folder with these packed linears.
    ///
    /// - Parameters:
    ///   - integers: by the linear's name.
    ///   - isShared: whether others can run the folder: they are told of quantized inputs here.
    static func json(
        _ integers: [String: QuantizerSpec], _ layout: Layout, hasFactors: Bool, isShared: Bool, _ execution: Execution,
        _ architecture: Architecture
    ) -> JSONValue {
        var object = JSONObject()
        object["quant_method"] = .string(isShared ? sharedMethod : ownMethod)
        if hasFactors { object["ternary_file"] = .string(CompressedFolder.factorFileName) }
        guard !integers.isEmpty else { return .object(object) }
        object["format"] = .string(layout.rawValue)
        object["quantization_status"] = "compressed"
        var groups: [(spec: QuantizerSpec, names: [String])] = []
        for name in architecture.linears.map(\.name) {
            guard let spec = integers[name] else { continue }
            if let index = groups.firstIndex(where: { $0.spec == spec }) {
                groups[index].names.append(name)
            } else {
                groups.append((spec, [name]))
            }
        }
        let inputs: JSONValue =
            !isShared || execution.activationBits >= 16
            ? .null
            : [
                "num_bits": .integer(execution.activationBits), "type": "int",
                "symmetric": .bool(execution.activationSymmetric),
                "strategy": "token", "dynamic": true,
            ]
        var described = JSONObject()
        for (index, group) in groups.enumerated() {
            described["group_\(index)"] = [
                "targets": .array(groups.count == 1 ? ["Linear"] : group.names.map(JSONValue.string)),
                "weights": json(group.spec), "input_activations": inputs,
            ]
        }
        object["config_groups"] = .object(described)
        let rest = architecture.linears.map(\.name).filter { integers[$0] == nil }
        let head = String(architecture.head.name.dropLast(".weight".count))
        object["ignore"] = .array((rest + [head]).map(JSONValue.string))
        return .object(object)
    }

    private static func json(_ spec: QuantizerSpec) -> JSONValue {
        var strategy: (name: String, size: JSONValue) = ("channel", .null)
        switch spec.granularity {
        case .tensor: strategy = ("tensor", .null)
        case .group(let size), .head(let size): strategy = ("group", .integer(size))
        case .channel, .token, .column: break
        }
        return [
            "num_bits": .integer(spec.bits), "type": "int", "symmetric": .bool(spec.symmetric),
            "strategy": .string(strategy.name), "group_size": strategy.size, "dynamic": false,
        ]
    }
}
