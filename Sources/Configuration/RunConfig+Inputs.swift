internal import Compression
internal import LinearAlgebra
internal import Rotation

/// Settings that a job's inputs bring along, instead of the defaults.
extension RunConfig {
    /// - Throws: ``ConfigurationError``; `FileError` where an input cannot be read.
    init(_ given: GivenSettings, job: String) throws {
        let config = try RunConfig(given)
        let isPlanned = ModelJob(rawValue: job) != nil
        if isPlanned { try config.quantization.checkUniform(job) }
        if isPlanned || Self.usedKeys[job] != nil { try config.checkFiles(job) }
        switch job {
        case PlanSettings.command: try self.init(given, job: config.plan.job.rawValue)
        case ModelJob.eval.rawValue:
            try config.quantization.checkUniform("rotation.path", config.rotation.path != nil)
            try config.quantization.checkUniform("eval.hadamard", config.eval.hadamard)
            try config.quantization.checkUniform("ternary.path", config.ternary.path != nil)
            if let execution = try CompressedFolder.execution(of: config.model.path.map(GivenPath.model)) {
                try config.quantization.checkUniform("a compressed folder", true)
                try self.init(Self.running(execution, of: config.model.path ?? "", given))
            } else {
                try self.init(config.evaluatingTasks(config.withLearned(given)))
            }
        case ModelJob.rotate.rawValue: try self.init(config.withLearned(given))
        case ModelJob.qat.rawValue: try self.init(config.trainingRotated(given))
        case ModelJob.quantize.rawValue: try self.init(config.quantizing(given))
        default: self = config
        }
    }

    /// - Throws: ``ConfigurationError`` where a file is given that this job, or other command, would not look at: what was
    ///   meant to be made with it would be made without.
    private func checkFiles(_ command: String) throws(ConfigurationError) {
        let readers: [(key: String, path: String?, jobs: [ModelJob])] = [
            ("rotation.path", rotation.path, [.rotate, .eval, .quantize]), ("qat.rotations", qat.rotations, [.qat]),
            // ptq makes such factors, and says so itself.
            ("ternary.path", ternary.path, [.eval, .qat, .ptq]),
        ]
        let unread = readers.first { $0.path != nil && !$0.jobs.map(\.rawValue).contains(command) }
        guard let (key, path, jobs) = unread else { return }
        let names = jobs.map(\.rawValue).joined(separator: ", ")
        throw ConfigurationError(key, "is \(path ?? ""), which \(command) does not read; it is for \(names)")
    }

    /// Adds the settings that the rotations in `rotation.path` were learned for, as the file records them.
    private func withLearned(_ given: GivenSettings) throws -> GivenSettings {
        guard let path = rotation.path.map({ GivenPath.file($0, inRun: RunFiles.rotations) }) else { return given }
        let learned = try RotationMetadata(of: path).settings(besides: Set(given.keys))
        return given.merging(learned.map { ($0.setting, GivenSetting(text: $0.value, place: path)) }) { own, _ in own }
    }

    /// For `qat`: balanced where the rotations it trains with were learned so.
    private func trainingRotated(_ given: GivenSettings) throws -> GivenSettings {
        guard let path = qat.rotations.map({ GivenPath.file($0, inRun: RunFiles.rotations) }) else { return given }
        let learned = try RotationMetadata(of: path).settings(besides: Set(given.keys))
        let settings = learned.filter { $0.setting == RotationMetadata.balanceKey }
        return given.merging(settings.map { ($0.setting, GivenSetting(text: $0.value, place: path)) }) { own, _ in own }
    }

    /// For `eval`: beside tasks nothing is rounded unless its bits are given.
    private func evaluatingTasks(_ given: GivenSettings) -> GivenSettings {
        guard !eval.tasks.entries.isEmpty else { return given }
        let settings = ["weights.bits", "activations.bits", "kv.bits"].map {
            ("quantization." + $0, GivenSetting(text: "16", place: "eval.tasks"))
        }
        return given.merging(settings) { own, _ in own }
    }

    /// Whether `eval` scores tasks, and the folder alone.
    private var scoresFolderAlone: Bool {
        !eval.tasks.entries.isEmpty && rotation.path == nil && ternary.path == nil && eval.trained == nil && !eval.hadamard
    }

    /// Whether `eval` scores tasks and the folder as it is, and nothing is rounded.
    package var scoresAsStored: Bool {
        scoresFolderAlone && quantization.weights.bits == 16 && quantization.activations.bits == 16
            && quantization.kv.keys == 16 && quantization.kv.values == 16 && quantization.isUniform
    }

    /// For `quantize`: 4 bits of weights, activations and cache as they are, unless their bits are given; and a file of
    /// rotations says which of R3 and R4 it was learned with, and whether after balancing.
    private func quantizing(_ given: GivenSettings) throws -> GivenSettings {
        var defaults = [
            "quantization.weights.bits": "4", "quantization.activations.bits": "16", "quantization.kv.bits": "16",
        ]
        if let path = rotation.path.map({ GivenPath.file($0, inRun: RunFiles.rotations) }) {
            let saysBalance = given["quantize.balance"] != nil
            let adopted = ["rotation.r3", "rotation.r4"] + (saysBalance ? [] : [RotationMetadata.balanceKey])
            for (key, value) in try RotationMetadata(of: path).settings(besides: []) where adopted.contains(key) {
                defaults[key] = value
            }
        }
        let settings = defaults.map { ($0, GivenSetting(text: $1, place: ModelJob.quantize.rawValue)) }
        return given.merging(settings) { own, _ in own }
    }

    /// Adds the settings that a compressed folder records of its activations.
    ///
    /// - Returns: the given settings with those of the folder.
    /// - Throws: ``ConfigurationError`` where a given setting differs from the folder's.
    static func running(
        _ execution: Execution, of folder: String, _ given: GivenSettings
    ) throws(ConfigurationError) -> GivenSettings {
        var settings = given
        let clipKey = "quantization.clip_ratios"
        let said = [
            ("activations.bits", "\(execution.activationBits)"), ("activations.symmetric", "\(execution.activationSymmetric)"),
            ("kv.key_bits", "\(execution.keyBits)"), ("kv.value_bits", "\(execution.valueBits)"),
            ("kv.symmetric", "\(execution.cacheSymmetric)"), ("weights.bits", "16"),
            ("clip_ratios", execution.clipRatios.settingText),
        ]
        // Bits of the cache are those of keys and of values that have none of their own.
        for (key, bits) in [("key_bits", execution.keyBits), ("value_bits", execution.valueBits)] {
            let own = settings["quantization.kv.\(key)"]?.text ?? QuantizationSettings.asCache
            guard own == QuantizationSettings.asCache, let given = settings["quantization.kv.bits"], !given.means("\(bits)")
            else {
                continue
            }
            throw ConfigurationError(
                "quantization.kv.bits", "is \(given.text); \(folder) is compressed and runs with \(bits); leave it out")
        }
        // One value has several texts.
        if let given = settings[clipKey], let same = ClipRatios(settingText: given.text)?.settingText {
            settings[clipKey] = GivenSetting(text: same, place: given.place)
        }
        let cache = execution.keyBits == execution.valueBits ? [("kv.bits", "\(execution.keyBits)")] : []
        let range = execution.activationSymmetric ? [("activations.symmetric_range", execution.activationRange.rawValue)] : []
        let heads = execution.activationBits < 16 ? [("activations.head_ranges", "\(execution.activationPerHead)")] : []
        for (key, value) in (said + cache + range + heads).map({ ("quantization." + $0, $1) }) {
            // What is left open contradicts nothing.
            let isOpen = ["auto", QuantizationSettings.asCache].contains(settings[key]?.text)
            if let given = settings[key], !given.means(value), !isOpen {
                throw ConfigurationError(key, "is \(given.text); \(folder) is compressed and runs with \(value); leave it out")
            }
            settings[key] = GivenSetting(text: value, place: folder)
        }
        return settings
    }
}

extension QuantizationSettings {
    /// Whether some weights have bits of their own.
    package var isUniform: Bool { exceptions.isEmpty }

    /// The settings that give some weights bits of their own.
    package var exceptions: [(key: String, value: String)] {
        let own = [
            ("overrides", overrides.settingText, overrides != .none),
            ("embedding_bits", "\(embeddingBits)", embeddingBits < 16), ("head_bits", "\(headBits)", headBits < 16),
        ]
        return own.filter(\.2).map { ("quantization." + $0.0, $0.1) }
    }

    /// - Throws: ``ConfigurationError`` where some weights have bits of their own, for a job that rounds all linears alike.
    package func checkUniform(_ job: String) throws(ConfigurationError) {
        guard let (key, value) = exceptions.first, ![ModelJob.quantize.rawValue, ModelJob.eval.rawValue].contains(job) else {
            return
        }
        throw ConfigurationError(
            key, "is \(value), which only quantize, and eval of a model as it is stored, can use; leave it out of \(job)")
    }

    /// - Throws: ``ConfigurationError`` where some weights have bits of their own and the network is another than as stored,
    ///   which `eval` rounds alike.
    fileprivate func checkUniform(_ other: String, _ isAsked: Bool) throws(ConfigurationError) {
        guard isAsked, let (key, value) = exceptions.first else { return }
        throw ConfigurationError(
            key, "is \(value), but the network of \(other) has one number of bits for all weights; leave one of them out")
    }
}
