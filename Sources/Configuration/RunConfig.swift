internal import Models
internal import TernarySVD

/// Everything that can be set about a run, checked. The sections' initializers state each key once: see ``Settings``.
package struct RunConfig: Sendable, Equatable {
    package var model: ModelSettings
    package var data: DataSettings
    package var training: TrainingSettings
    package var quantization: QuantizationSettings
    package var rotation: RotationSettings
    package var ternary: TernarySettings
    package var optimizer: OptimizerSettings
    package var qat: QatSettings
    package var parallel: ParallelSettings
    package var bus: BusSettings
    package var events: EventSettings
    package var checkpoint: CheckpointSettings
    package var watchdog: WatchdogSettings
    package var verify: VerifySettings
    package var eval: EvalSettings
    package var calibration: CalibrationSettings
    package var quantize: QuantizeSettings
    package var generate: GenerateSettings
    package var export: ExportSettings
    package var plan: PlanSettings
    /// The run folder; nil for a new one below `runs/`.
    package var out: String?
    /// Whether files that belong to another model may be used.
    package var allowMismatch: Bool

    /// Every key with its value here, as documentation; the order is that of the file.
    package let descriptions: [SettingDescription]

    private init(_ key: Settings) {
        model = ModelSettings(key.section("model"))
        data = DataSettings(key.section("data"))
        training = TrainingSettings(key.section("training"))
        quantization = QuantizationSettings(key.section("quantization"))
        rotation = RotationSettings(key.section("rotation"))
        ternary = TernarySettings(key.section("ternary"))
        optimizer = OptimizerSettings(key.section("optimizer"))
        qat = QatSettings(key.section("qat"))
        parallel = ParallelSettings(key.section("parallel"))
        bus = BusSettings(key.section("bus"))
        events = EventSettings(key.section("events"))
        checkpoint = CheckpointSettings(key.section("checkpoint"))
        watchdog = WatchdogSettings(key.section("watchdog"))
        verify = VerifySettings(key.section("verify"))
        eval = EvalSettings(key.section("eval"))
        calibration = CalibrationSettings(key.section("calibration"))
        quantize = QuantizeSettings(key.section("quantize"))
        generate = GenerateSettings(key.section("generate"))
        export = ExportSettings(key.section("export"))
        plan = PlanSettings(key.section("plan"))
        out = key.path("out", orElse: "auto", "run folder; auto: a new one, runs/<job>-<time>")
        allowMismatch = key(
            "allow_mismatch", false, "use rotations and ternary factors that were made for another model's weights, and say so")
        descriptions = key.descriptions
    }

    /// - Throws: ``ConfigurationError`` for the first thing wrong, unknown keys before all else.
    init(_ given: GivenSettings) throws {
        let settings = Settings(given)
        self.init(settings)
        if let problem = settings.problem { throw problem }
        try check()
    }

    /// The configuration of a file (none: all defaults), changed by `key.path=value` assignments, of which the last one counts.
    package init(file: String? = nil, assignments: [String] = []) throws {
        try self.init(SettingsRequest(file: file, assignments: assignments))
    }

    /// The configuration that a request gives, without what a job's inputs say.
    package init(_ request: SettingsRequest) throws { try self.init(request.given()) }

    /// A line for each key that is given by a name it had before, in the order of the names.
    static func renamedKeys(_ given: GivenSettings) -> [String] {
        given.sorted { $0.key < $1.key }.compactMap { key, given in
            formerPaths[key].map { "\(given.place): \(key) is now called \($0.path); use that name" }
        }
    }

    /// What one source gives, by the names that keys have now.
    ///
    /// - Throws: ``ConfigurationError`` where it gives a key by both names.
    static func renamed(_ given: GivenSettings) throws(ConfigurationError) -> GivenSettings {
        var result = given
        for (former, setting) in given {
            guard let key = formerPaths[former] else { continue }
            guard given[key.path] == nil else {
                throw ConfigurationError(setting.place, "\(former) is the former name of \(key.path); leave one of them out")
            }
            result[former] = nil
            var renamed = setting
            renamed.text = key.texts[setting.text] ?? setting.text
            result[key.path] = renamed
        }
        return result
    }

    private static let formerPaths = {
        let settings = Settings([:])
        _ = RunConfig(settings)
        return settings.formerPaths
    }()

    /// Every key with the text of its value.
    package var values: [String: String] {
        Dictionary(uniqueKeysWithValues: descriptions.map { ($0.path, $0.value) })
    }

    private init(values: [String: String]) throws {
        try self.init(values.mapValues { GivenSetting(text: $0, place: "configuration") })
    }

    /// The whole configuration as one text for another process of this program: keys and values, none of which holds a zero.
    package var encoded: String { descriptions.flatMap { [$0.path, $0.value] }.joined(separator: "\0") }

    /// - Throws: ``ConfigurationError`` for a text that ``encoded`` did not make.
    package init(encoded text: String) throws {
        let parts = text.split(separator: "\0", omittingEmptySubsequences: false).map(String.init)
        guard parts.count % 2 == 0 else { throw ConfigurationError("configuration", "came incomplete from rank 0") }
        var values: [String: String] = [:]
        for index in stride(from: 0, to: parts.count, by: 2) { values[parts[index]] = parts[index + 1] }
        try self.init(values: values)
    }

    /// The same settings but for these.
    package func with(_ changed: [String: String]) throws -> RunConfig {
        changed.isEmpty ? self : try RunConfig(values: values.merging(changed) { $1 })
    }

    /// The same settings, without the run folder.
    package func withAutomaticFolder() throws -> RunConfig { try with(["out": "auto"]) }

    /// Checks what no key can tell alone about this job. What settings that it does not use say to each other is no concern
    /// of its own: files of settings serve several jobs.
    ///
    /// - Throws: ``ConfigurationError``.
    package func check(job: ModelJob) throws(ConfigurationError) {
        if job == .rotate { try checkRotation() }
        if job == .quantize { try checkRecipe() }
        let method = quantization.weights.method
        if rounds(job), method == .stored, job != .eval || rotation.path != nil {
            throw ConfigurationError(
                "quantization.weights.method", "stored is for eval of a model whose weights stay as they are; use rtn")
        }
        if rounds(job), ![.nearest, .stored].contains(method), job != .quantize {
            throw ConfigurationError(
                "quantization.weights.method", "\(method.name) is for quantize; \(job.rawValue) rounds to nearest (rtn)")
        }
        if !export.formats.all.isEmpty, job == .eval {
            throw ConfigurationError("export.formats", "is for jobs that make a model; use sq-train export FOLDER")
        }
        guard !job.storages.contains(model.storage) else { return }
        let jobs = ModelJob.allCases.filter { $0.storages.contains(model.storage) }.map(\.rawValue).joined(separator: ", ")
        throw ConfigurationError(
            "model.storage",
            "\(model.storage.rawValue) is for weights that stay as they are (\(jobs)), and \(job.rawValue) changes them; "
                + "use f32")
    }

    /// Whether a job rounds to integers, as `quantization.*` says.
    func rounds(_ job: ModelJob) -> Bool {
        [.rotate, .quantize, .eval].contains(job) || (job == .qat && qat.method == .integer)
    }

    /// What no key can tell alone, whatever the job.
    private func check() throws(ConfigurationError) {
        try events.check()
        try eval.tasks.check()
        if ternary.bits != nil, ternary.mode == .reference {
            throw ConfigurationError(
                "ternary.mode", "reference decomposes to a tolerance, and ternary.bits makes digits; leave one of them out")
        }
        if training.warmupSteps > training.steps {
            throw ConfigurationError(
                "training.warmup_steps", "\(training.warmupSteps) are more than the \(training.steps) of training.steps")
        }
    }
}

// MARK: - As YAML

extension RunConfig {
    /// The configuration as a YAML file with a comment for every key. Reading it gives the same configuration.
    package var yaml: String {
        var lines: [String] = []
        var open: [String] = []
        for key in descriptions {
            var sections = key.path.split(separator: ".").map(String.init)
            let name = sections.removeLast()
            let shared = zip(open, sections).prefix { $0 == $1 }.count
            for (depth, section) in sections.enumerated().dropFirst(shared) {
                if depth == 0 { lines.append("") }
                lines.append(indentation(depth) + section + ":")
            }
            if sections.isEmpty { lines.append("") }
            open = sections
            let isDefault = key.value == key.defaultValue
            lines.append(
                indentation(sections.count) + "# \(key.help) (\(key.expectation)"
                    + (isDefault ? ")" : "; default \(key.defaultValue))"))
            lines.append(indentation(sections.count) + "\(name): " + (key.isText ? quoted(key.value) : key.value))
        }
        return lines.drop { $0.isEmpty }.joined(separator: "\n") + "\n"
    }

    private func indentation(_ depth: Int) -> String { String(repeating: "  ", count: depth) }

    /// A text as YAML: plain where every reader takes it for a text, else between quotes.
    private func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "/._-".utf8.contains(byte)
        }
        let looksLikeText = text.utf8.first.map { !"0123456789.-".utf8.contains($0) } ?? false
        if isPlain, looksLikeText || text.hasPrefix("./") || text.hasPrefix("../") { return text }
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\" + String(scalar)
            case _
            where scalar.value < 0x20 || (0x7F...0xA0).contains(scalar.value) || scalar.value == 0xFEFF
                || (0x2028...0x2029).contains(scalar.value) || (0xFFFE...0xFFFF).contains(scalar.value):
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
