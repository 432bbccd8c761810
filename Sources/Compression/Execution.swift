package import HuggingFace
package import LinearAlgebra
package import Models
internal import Quantization
package import Rotation
package import Support

/// What a compressed network does to activations at run time: quantizers, and rotations that cannot be merged into weights.
package struct Execution: Sendable, Equatable {
    /// Bits of a linear layer's input; 16: not rounded.
    package var activationBits = 16
    package var activationSymmetric = false
    /// The kind of symmetric ranges; `full` for asymmetric ones, which have the same steps either way.
    package var activationRange = SymmetricRange.full
    /// Whether the output projection's input has a range for each head, instead of one for the token.
    package var activationPerHead = true
    package var keyBits = 16
    package var valueBits = 16
    package var cacheSymmetric = false
    /// Clip ratios of what is rounded; 1 elsewhere.
    package var clipRatios = ClipRatios.none
    /// Hadamard transforms of queries and keys (R3), and of the down projection's input (R4).
    package var r3 = false
    package var r4 = false

    package init() {}

    /// Only weights are compressed.
    package static let plain = Execution()

    /// The same with nothing rounded.
    package var exact: Execution {
        var result = self
        (result.activationBits, result.keyBits, result.valueBits) = (16, 16, 16)
        return result
    }

    /// The settings in which the ranges of this differ from those of another, for values that both round.
    package func otherRanges(than other: Execution) -> [String] {
        let (roundsInputs, cache) = (max(activationBits, other.activationBits) < 16, max(keyBits, other.keyBits) < 16)
        let roundsCache = cache || max(valueBits, other.valueBits) < 16
        let differences = [
            ("activations.head_ranges", roundsInputs && activationPerHead != other.activationPerHead),
            ("activations.symmetric", roundsInputs && activationSymmetric != other.activationSymmetric),
            (
                "activations.symmetric_range",
                roundsInputs && activationSymmetric && other.activationSymmetric && activationRange != other.activationRange
            ),
            ("kv.symmetric", roundsCache && cacheSymmetric != other.cacheSymmetric),
            ("clip_ratios", (roundsInputs || roundsCache) && clipRatios != other.clipRatios),
        ]
        return differences.filter(\.1).map { "quantization." + $0.0 }
    }

    /// The hooks of a network that apply this.
    package func hooks(_ architecture: Architecture) -> QuantizedHooks {
        let head = architecture.headDimension ?? 1
        let quantization = ActivationQuantization(
            activationBits: activationBits, activationSymmetric: activationSymmetric, activationRange: activationRange,
            outputPerHead: activationPerHead, keyBits: keyBits, valueBits: valueBits, cacheSymmetric: cacheSymmetric,
            clipRatios: clipRatios, headDimension: head, gradient: .straightThrough)
        return QuantizedHooks(
            quantization: quantization, r3: r3 ? HadamardTransform(columns: head) : nil,
            r4: r4 ? HadamardTransform(columns: architecture.downWidth) : nil)
    }

    /// The member `sq_train` of config.json.
    package func json(_ architecture: Architecture) -> JSONObject {
        func online(_ isThere: Bool, _ columns: Int) -> JSONValue {
            guard isThere else { return .null }
            return [
                "type": "hadamard", "columns": .integer(columns),
                "block": .integer(HadamardTransform(columns: columns).block.order),
            ]
        }
        var result = JSONObject()
        result["version"] = 1
        var activations = JSONObject()
        activations["bits"] = .integer(activationBits)
        activations["symmetric"] = .bool(activationSymmetric)
        if activationSymmetric { activations["symmetric_range"] = .string(activationRange.rawValue) }
        activations["per_head"] = .bool(activationPerHead)
        result["activations"] = .object(activations)
        result["kv"] = [
            "key_bits": .integer(keyBits), "value_bits": .integer(valueBits), "symmetric": .bool(cacheSymmetric),
        ]
        // Programs from before there were ratios refuse the key.
        if clipRatios != .none { result["clip_ratios"] = clipRatios.json }
        result["r3"] = online(r3, architecture.headDimension ?? 1)
        result["r4"] = online(r4, architecture.downWidth)
        return result
    }

    /// Reads the result of ``json(_:)``.
    ///
    /// - Throws: ``FileError`` for a key that is missing, unknown, or has a value that this program cannot run.
    package init(_ keys: HFConfig, _ architecture: Architecture) throws(FileError) {
        try keys.allow(["version", "model_type", "activations", "kv", "clip_ratios", "r3", "r4"])
        guard try keys.integer("version") == 1 else {
            throw keys.failure("version", "\(try keys.integer("version")) is not supported; this program reads version 1")
        }
        let activations = try keys.required("activations")
        try activations.allow(["bits", "symmetric", "symmetric_range", "per_head"])
        activationBits = try activations.bits("bits")
        activationSymmetric = try activations.bool("symmetric")
        activationPerHead = try activations.bool("per_head")
        if activationSymmetric, activationBits < 16 { activationRange = try Self.range(activations) }
        let cache = try keys.required("kv")
        try cache.allow(["key_bits", "value_bits", "symmetric"])
        (keyBits, valueBits) = (try cache.bits("key_bits"), try cache.bits("value_bits"))
        cacheSymmetric = try cache.bool("symmetric")
        if let ratios = try keys.object("clip_ratios") { clipRatios = try ClipRatios(ratios) }
        r3 = try Self.online(keys, "r3", architecture.headDimension ?? 1)
        r4 = try Self.online(keys, "r4", architecture.downWidth)
    }

    private static func range(_ keys: HFConfig) throws(FileError) -> SymmetricRange {
        // Folders from before there were two ranges.
        let name = try keys.string("symmetric_range", default: SymmetricRange.restricted.rawValue)
        guard let range = SymmetricRange(rawValue: name) else {
            throw keys.failure("symmetric_range", "\(name) is neither full nor restricted")
        }
        return range
    }

    private static func online(_ keys: HFConfig, _ name: String, _ columns: Int) throws(FileError) -> Bool {
        // A missing key does not mean that there is no rotation.
        guard keys.json[name] != nil else { throw keys.failure(name, "is missing; write null for none") }
        guard let rotation = try keys.object(name) else { return false }
        try rotation.allow(["type", "columns", "block"])
        let block = columns > 0 ? HadamardTransform(columns: columns).block.order : 0
        guard try rotation.string("type") == "hadamard", try rotation.integer("columns") == columns,
            try rotation.integer("block") == block
        else {
            throw keys.failure(
                name, "is not the Hadamard transform of \(columns) values in blocks of \(block) that this program has")
        }
        return true
    }
}

extension ClipRatios {
    /// The sites whose ratio is not 1.
    fileprivate var json: JSONValue {
        var result = JSONObject()
        for site in Self.sites where self[site] != 1 { result[site.rawValue] = .double(self[site]) }
        return .object(result)
    }

    /// - Throws: ``FileError`` naming a site that does not exist, or whose ratio is invalid.
    fileprivate init(_ keys: HFConfig) throws(FileError) {
        self.init()
        try keys.allow(Set(Self.sites.map(\.rawValue)))
        for site in Self.sites where keys.has(site.rawValue) {
            let ratio = try keys.number(site.rawValue)
            guard Self.accepts(ratio) else { throw keys.failure(site.rawValue, "\(ratio) is not \(Self.accepted)") }
            self[site] = ratio
        }
    }
}

extension HFConfig {
    /// - Throws: for a key other than these.
    func allow(_ known: Set<String>) throws(FileError) {
        for (key, value) in json.members where !known.contains(key) && value != .null {
            throw failure(key, "is not known to this program and may change what the network computes")
        }
    }

    func required(_ key: String) throws(FileError) -> HFConfig {
        guard let object = try object(key) else { throw failure(key, "is missing") }
        return object
    }

    /// 2 to 8, or 16.
    func bits(_ key: String) throws(FileError) -> Int {
        let bits = try integer(key)
        guard (2...8).contains(bits) || bits == 16 else { throw failure(key, "\(bits) is neither 2 to 8 nor 16") }
        return bits
    }
}
