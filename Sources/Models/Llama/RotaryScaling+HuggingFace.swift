internal import HuggingFace
internal import Support

extension RotaryScaling {
    /// Reads `rope_parameters` (transformers 5) or `rope_scaling` (4); the base is that of the dictionary or else the one at
    /// the top.
    ///
    /// - Throws: where both are given and differ, or one of them asks for what this program does not support.
    init(_ keys: HFConfig) throws(FileError) {
        let new = try keys.object("rope_parameters").map { dictionary throws(FileError) in
            try RotaryScaling(dictionary, below: keys)
        }
        let legacy = try keys.object("rope_scaling").map { dictionary throws(FileError) in
            try RotaryScaling(dictionary, below: keys)
        }
        if let new, let legacy, new != legacy {
            throw keys.failure("rope_scaling", "contradicts rope_parameters; delete the one that does not apply")
        }
        if let read = new ?? legacy {
            self = read
        } else {
            self.init(base: try keys.rotaryBase(or: 10_000))
        }
    }

    private init(_ scaling: HFConfig, below top: HFConfig) throws(FileError) {
        if let layerType = scaling.json.members.first(where: { $0.value.object != nil })?.key {
            throw scaling.failure(layerType, "rotary embeddings of their own for a type of layer are not supported")
        }
        self.init(base: try scaling.rotaryBase(or: try top.rotaryBase(or: 10_000)))
        let legacyType = try scaling.string("type", default: "default")
        let type = try scaling.string("rope_type", default: legacyType)
        guard !scaling.has("type") || type == legacyType else {
            throw scaling.failure("type", "\(legacyType) contradicts rope_type \(type)")
        }
        let own: Set<String>
        switch type {
        case "default": own = []
        case "linear":
            own = ["factor"]
            kind = .linear(factor: try scaling.positive("factor"))
        case "llama3":
            own = ["factor", "low_freq_factor", "high_freq_factor"]
            let (low, high) = (try scaling.positive("low_freq_factor"), try scaling.positive("high_freq_factor"))
            guard low < high else { throw scaling.failure("low_freq_factor", "\(low) is not below high_freq_factor \(high)") }
            kind = .llama3(
                factor: try scaling.positive("factor"), lowFrequency: low, highFrequency: high,
                originalPositions: try scaling.positive("original_max_position_embeddings"))
        default:
            throw scaling.failure(
                "rope_type",
                "\(type) is not supported; default, linear and llama3 are (without the key the model runs as it was "
                    + "before its context was stretched, which is another network)")
        }
        // The length a model was trained at changes nothing but llama3's angles.
        let harmless: Set = ["type", "rope_type", "rope_theta", "original_max_position_embeddings"]
        for (key, value) in scaling.json.members where !own.contains(key) && !harmless.contains(key) {
            guard value.isNeutral(for: key) else {
                throw scaling.failure(key, "\(value.brief) has no meaning with rope_type \(type); delete it")
            }
        }
    }
}

extension HFConfig {
    /// What is to be said of a `rope_theta` in the dictionary that overrules another one beside it, as in transformers; nil
    /// where there are not two.
    var overruledRotaryBase: String? {
        for key in ["rope_parameters", "rope_scaling"] {
            guard let inside = value(key)?["rope_theta"]?.number, let beside = value("rope_theta")?.number else { continue }
            guard inside != beside else { continue }
            return "config.json has rope_theta \(inside) in \(key) and \(beside) beside it: the one in \(key) is used"
        }
        return nil
    }

    fileprivate func rotaryBase(or default: Double) throws(FileError) -> Double {
        has("rope_theta") ? try positive("rope_theta") : `default`
    }

    fileprivate func positive(_ key: String) throws(FileError) -> Double {
        let value = try number(key)
        guard value > 0, value.isFinite else { throw failure(key, "\(value) is not a positive number") }
        return value
    }
}
