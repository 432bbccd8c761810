internal import HuggingFace
internal import Models
internal import Quantization
internal import Support

/// The description of packed weights in config.json (`quantization_config`).
///
/// A folder that other programs can also run names compressed-tensors' method. Any other folder names this program's own
/// method, which others refuse instead of running the folder incorrectly.
package struct WeightPacking {
    static let key = "quantization_config", ownMethod = "sq-train", sharedMethod = "compressed-tensors"

    /// The layout of integers in the checkpoint.
    package enum Layout: String, Sendable, CaseIterable {
        /// ``IntegerTensors``: b bits each.
        case packed = "pack-quantized"
        /// A byte each, `NAME.weight` in I8: the layout that other programs read where inputs are quantized, too.
        case bytes = "int-quantized"
    }

    /// The `format` of a folder whose groups have different formats.
    static let mixed = "mixed-precision"

    private struct Group {
        let targets: [LayerTarget]
        let layout: Layout
        let spec: QuantizerSpec
        /// What is done to these linears' inputs.
        let execution: Execution
    }

    let isOwn: Bool
    /// What is done to the inputs of all linears.
    let execution: Execution
    let hasFactors: Bool
    /// `transform_config`; nil where it is absent or empty. See ``OnlineTransforms``.
    let transforms: HFConfig?
    /// Warnings for the user, one sentence each.
    let warnings: [String]
    private let groups: [Group]
    private let tables: Set<String>
    /// Linears listed as not quantized.
    private let ignored: [LayerTarget]

    /// - Parameters:
    ///   - tables: names of embedding and head, whose inputs are not quantized; `linears`: of all others.
    /// - Returns: nil where the key is absent.
    init?(_ config: HFConfig, tables: Set<String>, linears: [String]) throws(FileError) {
        guard let keys = try config.object(Self.key) else { return nil }
        guard try keys.string("quant_method", default: "") != "" else {
            guard try keys.object(OnlineTransforms.key)?.json.count ?? 0 == 0 else {
                throw keys.failure("quant_method", "is missing beside \(OnlineTransforms.key)")
            }
            return nil
        }
        let method = try keys.string("quant_method")
        // Methods of other programs are named when their tensors are found.
        guard method == Self.ownMethod || method == Self.sharedMethod else { return nil }
        isOwn = method == Self.ownMethod
        self.tables = tables
        try keys.allow([
            "quant_method", "format", "config_groups", "ignore", "quantization_status", "version", "ternary_file",
            "global_compression_ratio", "sparsity_config", "transform_config", "kv_cache_scheme",
        ])
        for key in ["sparsity_config", "kv_cache_scheme"] + (isOwn ? [OnlineTransforms.key] : []) {
            guard let value = keys.value(key), value.object?.count != 0 else { continue }
            throw keys.failure(key, "is not supported; this program runs packed integer weights without it")
        }
        let warning = try Self.statusWarning(keys)
        // Other programs do not read this program's own method, whatever status it states.
        warnings = isOwn ? [] : [warning].compactMap(\.self)
        let described = try keys.object(OnlineTransforms.key)
        transforms = described?.json.count == 0 ? nil : described
        hasFactors = keys.has("ternary_file")
        if hasFactors {
            guard isOwn, try keys.string("ternary_file") == CompressedFolder.factorFileName else {
                throw keys.failure("ternary_file", "is not \(CompressedFolder.factorFileName)")
            }
        }
        var budget = LayerTarget.budget
        ignored = try LayerTarget.list(keys, "ignore", &budget)
        guard let packed = try keys.object("config_groups") else {
            guard hasFactors else { throw keys.failure("config_groups", "is missing") }
            (groups, execution) = ([], .plain)
            return
        }
        let shared = try keys.string("format") == Self.mixed ? nil : try Self.layout(keys)
        var groups: [Group] = []
        for key in packed.json.keys { groups.append(try Self.group(try packed.required(key), shared, &budget)) }
        self.groups = groups
        execution = try Self.execution(of: linears, among: groups, ignored: ignored, keys)
    }

    /// What is done to the inputs of all linears: to those of one that is ignored or in no group, nothing.
    private static func execution(
        of linears: [String], among groups: [Group], ignored: [LayerTarget], _ keys: HFConfig
    ) throws(FileError) -> Execution {
        var first: (name: String, execution: Execution)?
        for name in linears {
            let isIgnored = ignored.contains { $0.matches(name, .linear) }
            let own = isIgnored ? .plain : group(of: name, .linear, among: groups)?.execution ?? .plain
            if first == nil { first = (name, own) }
            guard let first, first.execution != own else { continue }
            let (rounded, other) = first.execution == .plain ? (name, first.name) : (first.name, name)
            throw keys.failure(
                "config_groups",
                "quantize the inputs of \(rounded) otherwise than those of \(other); this program treats all linears' alike")
        }
        return first?.execution ?? .plain
    }

    /// The status in compressed-tensors of weights that are stored as integers. With `initialized` and `calibration` there are
    /// no scales yet; with `frozen` and `decompressed` the weights are floats. But many published folders say `frozen`, or
    /// nothing, and hold integers (transformers' pull request 47152). There the tensors decide.
    private static let integers = "compressed", settled = "frozen"

    /// - Throws: for a status in which weights are not integers.
    private static func statusWarning(_ keys: HFConfig) throws(FileError) -> String? {
        let key = "quantization_status"
        let status = try keys.string(key, default: "")
        guard status != integers else { return nil }
        guard ["", settled].contains(status) else {
            throw keys.failure(
                key,
                "'\(status)' means that the weights are not integers; only \(integers) is supported; save the model compressed")
        }
        return "\(keys.path): \(key) is \(status.isEmpty ? "missing" : status), and transformers 5 does not find weights of "
            + "integers unless it is \(integers); they are read as their tensors are"
    }

    private static func layout(_ keys: HFConfig) throws(FileError) -> Layout {
        let format = try keys.string("format")
        guard let layout = Layout(rawValue: format) else {
            throw keys.failure("format", "\(format) is not supported; this program reads pack-quantized and int-quantized")
        }
        return layout
    }

    /// `input_activations`: dynamic, a range for each token.
    private static func inputs(_ keys: HFConfig?) throws(FileError) -> Execution {
        var execution = Execution.plain
        guard let keys else { return execution }
        try keys.allow([
            "num_bits", "type", "symmetric", "strategy", "dynamic", "observer", "observer_kwargs", "scale_dtype", "zp_dtype",
        ])
        let isSupported = [
            ("strategy", try keys.string("strategy") == "token"), ("dynamic", try keys.bool("dynamic")),
            ("type", try keys.string("type") == "int"),
        ]
        for (key, holds) in isSupported where !holds {
            throw keys.failure(key, "is not supported; inputs are quantized as int, by token, dynamic")
        }
        execution.activationBits = try keys.bits("num_bits")
        execution.activationSymmetric = try keys.bool("symmetric")
        execution.activationPerHead = false
        return execution
    }

    /// - Parameter shared: the layout of all groups that do not state their own.
    private static func group(_ keys: HFConfig, _ shared: Layout?, _ budget: inout Int) throws(FileError) -> Group {
        try keys.allow(["targets", "weights", "format", "input_activations"])
        let weights = try keys.required("weights")
        try weights.allow([
            "num_bits", "type", "symmetric", "strategy", "group_size", "dynamic", "observer", "observer_kwargs", "scale_dtype",
            "zp_dtype", "actorder",
        ])
        // Columns that were rounded in another order are still stored in the usual order. Groups of columns that are not
        // neighbors have an index.
        if let order = weights.value("actorder"), order != .bool(false), !["weight", "static"].contains(order.string ?? "") {
            throw weights.failure(
                "actorder",
                "\(order.text()) makes groups in the order of activations, but this program reads groups of "
                    + "neighboring inputs; quantize with actorder weight or null")
        }
        let bits = try weights.bits("num_bits")
        guard bits <= 8, try weights.string("type") == "int" else {
            throw weights.failure("type", "must be int, with num_bits from 2 to 8")
        }
        guard try !weights.bool("dynamic", default: false) else { throw weights.failure("dynamic", "is true for weights") }
        let strategy = try weights.string("strategy")
        // Some writers say −1 for a row.
        if strategy != "group", let size = weights.value("group_size"), size != .null, size.integer != -1 {
            throw weights.failure("group_size", "is for the strategy group, but strategy is \(strategy)")
        }
        let granularity: QuantizerGranularity =
            switch strategy {
            case "tensor": .tensor
            case "channel": .channel
            case "group": .group(try weights.extent("group_size"))
            default: throw weights.failure("strategy", "\(strategy) is not supported; tensor, channel and group are")
            }
        let layout = if let shared, !keys.has("format") { shared } else { try layout(keys) }
        return Group(
            targets: try LayerTarget.list(keys, "targets", &budget), layout: layout,
            spec: QuantizerSpec(bits: bits, symmetric: try weights.bool("symmetric"), granularity: granularity),
            execution: try inputs(try keys.object("input_activations")))
    }

    /// The group of a layer where targets overlap, as in compressed-tensors: the layer's own name takes precedence over regular
    /// expressions (of which the first in order of their text counts), and these over its class. If one target is in several
    /// groups, the last counts.
    private static func group(of name: String, _ module: LayerTarget.ModuleClass, among groups: [Group]) -> Group? {
        let matching = groups.flatMap { group in
            group.targets.filter { $0.matches(name, module) }.map { (target: $0, group: group) }
        }
        let first = matching.min { precedes($0.target, $1.target) }
        return matching.last { $0.target.text == first?.target.text }?.group
    }

    private static func precedes(_ one: LayerTarget, _ other: LayerTarget) -> Bool {
        one.kind == other.kind ? one.text.utf8.lexicographicallyPrecedes(other.text.utf8) : one.kind < other.kind
    }

    /// How a matrix is packed: as stated by the group that names it or, for a linear, by the group of all linears.
    ///
    /// - Parameter found: the layout of its tensors.
    /// - Throws: ``FileError`` where no group covers it, where the layouts differ, or where groups do not divide its inputs.
    func spec(
        of linear: LinearShape, _ module: LayerTarget.ModuleClass, _ found: Layout, _ config: HFConfig
    ) throws(FileError) -> QuantizerSpec {
        if let target = ignored.first(where: { $0.matches(linear.name, module) }) {
            throw config.failure(Self.key, "lists \(target.text) under ignore, but the weight of \(linear.name) is packed")
        }
        let named = Self.group(of: linear.name, module, among: groups)
        guard let named else {
            throw config.failure(
                Self.key,
                "has no group for \(linear.name), which is packed (targets: its name, an expression, or \(module.rawValue))")
        }
        guard named.layout == found else {
            throw config.failure(
                Self.key, "says that \(linear.name) is \(named.layout.rawValue), but its tensors are \(found.rawValue)")
        }
        guard !tables.contains(linear.name) || named.execution == .plain else {
            throw config.failure(Self.key, "quantizes the inputs of \(linear.name), which this program leaves as they are")
        }
        if case .group(let size) = named.spec.granularity, linear.shape[1] % size != 0 {
            throw config.failure(Self.key, "groups of \(size) do not divide the \(linear.shape[1]) inputs of \(linear.name)")
        }
        return named.spec
    }
}
