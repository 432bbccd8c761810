internal import Compression
internal import HuggingFace

extension RunConfig {
    /// The configuration of a file and assignments for one job. Where rotations are used, what their file says they were
    /// learned for stands in the place of the defaults, and what is given counts for more.
    ///
    /// - Parameter reproduced: a finished run whose table `eval` is to make again, in the place of a file; see
    ///   ``reproducing(run:)``.
    /// - Throws: ``ConfigurationError``; ``FileError`` where `rotation.path` cannot be read.
    package init(file: String?, assignments: [String], reproducing reproduced: String? = nil, job: String) throws {
        var (file, assignments) = (file, assignments)
        if let reproduced {
            guard file == nil else {
                throw ConfigurationError(reproduced, "is a run with settings of its own; leave --config out")
            }
            let run = try Self.reproducing(run: reproduced)
            (file, assignments) = (run.file, run.assignments + assignments)
        }
        try self.init(file: file, assignments: assignments)
        if job == PlannedJob.eval.rawValue, let execution = try CompressedFolder.execution(of: model.path.map(GivenPath.model))
        {
            try self.init(file: file, assignments: assignments, running: execution, of: model.path ?? "")
            return
        }
        if job == QuantizeSettings.job {
            try self.init(file: file, assignments: assignments, quantizing: ())
            return
        }
        guard let given = rotation.path, job == PlannedJob.rotate.rawValue || job == PlannedJob.eval.rawValue else { return }
        let path = GivenPath.file(given, inRun: RunFiles.rotations)
        let document = try file.map { try ConfigurationDocument(file: $0) }
        let settings = try Self.merge(document, assignments)
        let learned = try RotationMetadata(of: path).settings(besides: Set(settings.keys))
        try self.init(
            settings.merging(learned.map { ($0.setting, GivenSetting(text: $0.value, place: path)) }) { own, _ in own })
    }

    /// The same for `quantize`: activations and cache stay as they are unless their bits are given, and a file of rotations says
    /// which of R3 and R4 it was learned with.
    private init(file: String?, assignments: [String], quantizing: Void) throws {
        var settings = try Self.merge(try file.map { try ConfigurationDocument(file: $0) }, assignments)
        var defaults = ["quantization.activations.bits": "16", "quantization.kv.bits": "16"]
        if let given = try RunConfig(settings).rotation.path {
            let learned = try RotationMetadata(of: GivenPath.file(given, inRun: RunFiles.rotations)).settings(besides: [])
            for (key, value) in learned where ["rotation.r3", "rotation.r4"].contains(key) { defaults[key] = value }
        }
        for (key, value) in defaults where settings[key] == nil {
            settings[key] = GivenSetting(text: value, place: QuantizeSettings.job)
        }
        try self.init(settings)
    }

    /// The same where the model's folder says what its network does to activations.
    ///
    /// - Throws: ``ConfigurationError`` where a setting given says something else.
    private init(file: String?, assignments: [String], running execution: Execution, of folder: String) throws {
        let document = try file.map { try ConfigurationDocument(file: $0) }
        var settings = try Self.merge(document, assignments)
        let said = [
            ("activations.bits", "\(execution.activationBits)"), ("activations.symmetric", "\(execution.activationSymmetric)"),
            ("kv.key_bits", "\(execution.keyBits)"), ("kv.value_bits", "\(execution.valueBits)"),
            ("kv.symmetric", "\(execution.cacheSymmetric)"), ("weights.bits", "16"),
        ]
        let cache = execution.keyBits == execution.valueBits ? [("kv.bits", "\(execution.keyBits)")] : []
        for (key, value) in (said + cache).map({ ("quantization." + $0, $1) }) {
            if let given = settings[key], given.text != value {
                throw ConfigurationError(key, "is \(given.text); \(folder) is compressed and runs with \(value); leave it out")
            }
            settings[key] = GivenSetting(text: value, place: folder)
        }
        try self.init(settings)
    }
}
