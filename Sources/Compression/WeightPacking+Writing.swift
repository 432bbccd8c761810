internal import HuggingFace
internal import Models
internal import Quantization
internal import Support

extension WeightPacking {
    /// The packed parts of a folder that is to be written.
    struct Written {
        /// By the linear's name.
        let linears: [String: QuantizerSpec]
        /// The layout of the linears.
        let layout: WeightPacking.Layout
        let embedding: (spec: QuantizerSpec, layout: WeightPacking.Layout)?
        /// The head's quantizer; nil also where the embedding serves as head.
        let head: QuantizerSpec?
        let hasFactors: Bool
        /// Whether other programs can run the folder. They find quantized inputs described here.
        let isShared: Bool

        var isEmpty: Bool { linears.isEmpty && embedding == nil && head == nil && !hasFactors }
    }
}

extension WeightPacking.Written {
    private struct Group {
        let spec: QuantizerSpec
        let layout: WeightPacking.Layout
        var targets: [String]
        /// Whether the inputs of these layers are rounded like those of linears.
        let isLinear: Bool
    }

    /// The value of `WeightPacking.key`.
    func json(_ execution: Execution, _ architecture: Architecture) -> JSONValue {
        var object = JSONObject()
        object["quant_method"] = .string(isShared ? WeightPacking.sharedMethod : WeightPacking.ownMethod)
        if hasFactors { object["ternary_file"] = .string(CompressedFolder.factorFileName) }
        guard !linears.isEmpty || embedding != nil || head != nil else { return .object(object) }
        let groups = groups(architecture)
        let layouts = Set(groups.map(\.layout))
        let isMixed = layouts.count > 1
        object["format"] = .string(isMixed ? WeightPacking.mixed : groups[0].layout.rawValue)
        object["quantization_status"] = "compressed"
        var numbered = JSONObject()
        for (index, group) in groups.enumerated() {
            var described = described(group.spec, group.targets, group.isLinear ? inputs(execution) : .null)
            if isMixed { described["format"] = .string(group.layout.rawValue) }
            numbered["group_\(index)"] = .object(described)
        }
        object["config_groups"] = .object(numbered)
        object["ignore"] = .array(ignored(architecture).map(JSONValue.string))
        return .object(object)
    }

    /// Layers that other programs would otherwise treat like the packed linears: linears that are not packed, matrices between
    /// embedding, blocks and head, and the head.
    private func ignored(_ architecture: Architecture) -> [String] {
        architecture.linears.map(\.name).filter { linears[$0] == nil }
            + (architecture.entry + architecture.exit).filter { $0.role == .projection }.map(\.layerName)
            + (head == nil ? [architecture.head.layerName] : [])
    }

    /// Linears grouped by form. A single form applies to all linears. Names take precedence over the class of a layer.
    private func groups(_ architecture: Architecture) -> [Group] {
        var groups: [Group] = []
        for name in architecture.linears.map(\.name) {
            guard let spec = linears[name] else { continue }
            if let index = groups.firstIndex(where: { $0.spec == spec }) {
                groups[index].targets.append(name)
            } else {
                groups.append(Group(spec: spec, layout: layout, targets: [name], isLinear: true))
            }
        }
        if groups.count == 1 { groups[0].targets = ["Linear"] }
        if let embedding, let table = architecture.embedding?.layerName {
            groups.append(Group(spec: embedding.spec, layout: embedding.layout, targets: [table], isLinear: false))
        }
        if let head {
            groups.append(Group(spec: head, layout: .packed, targets: [architecture.head.layerName], isLinear: false))
        }
        return groups
    }

    private func inputs(_ execution: Execution) -> JSONValue {
        isShared && execution.activationBits < 16 ? execution.inputs : .null
    }

    private func described(_ spec: QuantizerSpec, _ targets: [String], _ inputs: JSONValue) -> JSONObject {
        var strategy: (name: String, size: JSONValue) = ("channel", .null)
        switch spec.granularity {
        case .tensor: strategy = ("tensor", .null)
        case .group(let size), .head(let size): strategy = ("group", .integer(size))
        case .channel, .token, .column: break
        }
        var result = JSONObject()
        result["targets"] = .array(targets.map(JSONValue.string))
        result["weights"] = [
            "num_bits": .integer(spec.bits), "type": "int", "symmetric": .bool(spec.symmetric),
            "strategy": .string(strategy.name), "group_size": strategy.size, "dynamic": false,
        ]
        result["input_activations"] = inputs
        return result
    }
}
