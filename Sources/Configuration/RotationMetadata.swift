internal import LinearAlgebra
package import Rotation
package import Support

/// The record in `rotations.safetensors` of the run that made it: the settings that the rotations were learned for, and the
/// model.
///
/// An `R.bin`, SpinQuant's format, has no such record.
package struct RotationMetadata {
    private let entries: [String: String]

    static let digestKey = "model_sha256"

    /// Keys of the file by the settings they hold; those of K and V only where the bits of both are not set.
    private static let keys = [
        ("weight_bits", "quantization.weights.bits"), ("weight_symmetric", "quantization.weights.symmetric"),
        ("weight_granularity", "quantization.weights.granularity"), ("weight_group_size", "quantization.weights.group_size"),
        ("weight_clip", "quantization.weights.clip"), ("activation_bits", "quantization.activations.bits"),
        ("activation_symmetric", "quantization.activations.symmetric"),
        (rangeKey, "quantization.activations.symmetric_range"),
        (headRangeKey, headRanges), ("kv_bits", cacheBits),
        ("key_bits", keyBits), ("value_bits", valueBits),
        ("kv_symmetric", "quantization.kv.symmetric"), (ratioKey, "quantization.clip_ratios"), ("r3", "rotation.r3"),
        ("r4", "rotation.r4"),
        ("balance", balanceKey),
    ]
    private static let rangeKey = "activation_symmetric_range"
    private static let ratioKey = "clip_ratios"
    static let balanceKey = "rotation.balance"
    private static let cacheBits = "quantization.kv.bits"
    private static let (keyBits, valueBits) = ("quantization.kv.key_bits", "quantization.kv.value_bits")
    private static let headRangeKey = "activation_head_ranges"
    private static let headRanges = "quantization.activations.head_ranges"

    /// - Throws: `FileError` where there is no such file or it cannot be read.
    package init(of path: String) throws(FileError) {
        // Before an R.bin is taken at its word for being silent.
        guard PathKind(path) != .absent else { throw FileError(.missing, path, "there is no such file") }
        var entries = try Rotations.metadata(of: path)
        // Files from before there were two ranges, and ratios of them.
        if entries["activation_symmetric"] == "true", entries[Self.rangeKey] == nil {
            entries[Self.rangeKey] = SymmetricRange.restricted.rawValue
        }
        if entries["activation_bits"] != nil, entries[Self.ratioKey] == nil {
            entries[Self.ratioKey] = ClipRatios.none.settingText
        }
        self.entries = entries
    }

    /// What a run writes: the settings it learned with, `model_sha256`, and for the reader where the rotations come from.
    package static func make(_ config: RunConfig, modelDigest: String) -> [String: String] {
        let values = config.values
        var result = [
            "format": "pt", ProgramVersion.key: ProgramVersion.name, digestKey: modelDigest, "r1": config.rotation.r1.rawValue,
            "r2": config.rotation.r2.rawValue,
            "train_weight_bits": String(config.rotation.trainWeightBits), "steps": String(config.training.steps),
            "seed": String(config.training.seed),
        ]
        for (key, setting) in keys { result[key] = values[setting] }
        result[headRangeKey] = String(config.quantization.activations.headRanges ?? true)
        result["key_bits"] = String(config.quantization.kv.keys)
        result["value_bits"] = String(config.quantization.kv.values)
        return result
    }

    /// The file's values of settings that are not given, by path.
    ///
    /// - Parameter given: paths of the settings given. Bits of the cache that are given are those of keys and of values.
    package func settings(besides given: Set<String>) -> [(setting: String, value: String)] {
        Self.keys.compactMap { key, setting in
            let isCache = ["key_bits", "value_bits"].contains(key)
            guard let value = entries[key], !given.contains(setting), !(isCache && given.contains(Self.cacheBits)) else {
                return nil
            }
            return (setting, value)
        }
    }

    /// The settings that differ from the file's, of those that change anything.
    package func differences(_ config: RunConfig) -> [Difference] {
        let values = config.values
        let bits = [Self.keyBits: config.quantization.kv.keys, Self.valueBits: config.quantization.kv.values]
        let all = Self.keys.compactMap { key, setting -> Difference? in
            let isBalance = setting == Self.balanceKey
            let used = isBalance ? String(!config.leadingTransforms.isEmpty) : bits[setting].map(String.init) ?? values[setting]
            guard let learned = entries[key], let used, learned != used else { return nil }
            return Difference(setting: setting, learned: learned, used: used)
        }
        let activations = config.quantization.activations
        let choosesRanges = activations.bits < 16 && activations.headRanges != nil
        return withoutRepeats(all).filter { $0.setting != Self.headRanges || choosesRanges }
    }

    /// A setting's value in the file and in a run.
    package struct Difference: Equatable {
        package let setting: String
        package let learned: String
        package let used: String
    }

    /// Bits of the cache once, where those of keys and of values differ alike; else as those of each.
    private func withoutRepeats(_ all: [Difference]) -> [Difference] {
        let own = all.filter { [Self.keyBits, Self.valueBits].contains($0.setting) }
        guard let both = all.first(where: { $0.setting == Self.cacheBits }), entries["key_bits"] != nil else { return all }
        let isShared = own.count == 2 && own.allSatisfy { $0.learned == both.learned && $0.used == both.used }
        return all.filter { difference in
            isShared ? !own.contains(difference) : difference != both
        }
    }

    /// The model's digest; nil where the file has none.
    package var modelDigest: String? { entries[Self.digestKey] }
    /// Whether the file has no record at all.
    package var isEmpty: Bool { modelDigest == nil && settings(besides: []).isEmpty }

    /// That all rotations the run had are there.
    ///
    /// - Throws: `FileError`.
    package func check(_ rotations: Rotations, path: String) throws(FileError) {
        for (key, isThere) in [("r1", rotations.r1 != nil), ("r2", rotations.r2 != nil)] {
            guard let said = entries[key], (said == MergedRotation.none.rawValue) == isThere else { continue }
            throw FileError(
                .malformed, path,
                "says \(key) is '\(said)' but holds \(isThere ? "an" : "no") \(key.uppercased()): the file is incomplete or "
                    + "changed"
            )
        }
    }
}
