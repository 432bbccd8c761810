package import Compression
package import Evaluation
internal import Support

/// What evaluation adds to its table.
package struct EvalSettings: Sendable, Equatable {
    /// Rows of the same linears as integers, beside ternary ones.
    package var compare: Bool
    /// A row with random Hadamard rotations.
    package var hadamard: Bool
    /// How packed linears multiply.
    package var product: LinearProduct
    /// Tasks beside perplexity, each with its file.
    package var tasks: TaskChoices
    /// Tokens that the network reads at most in a task; nil: as many as the model has positions.
    package var maxLength: Int?
    /// Items of each task's file; nil for all.
    package var limit: Int?
    /// The model that training has made of `model.path`; nil for none.
    package var trained: String?

    init(_ key: Settings) {
        compare = key(
            "compare", true, "eval, ptq, qat: beside ternary layers, score the same layers rounded to 4 and to 3 bits")
        hadamard = key("hadamard", false, "eval: score random Hadamard rotations (QuaRot) as well, R1 to R4 as rotation.* says")
        product = key(
            "product", .float,
            "eval of a compressed model: multiply its packed linears in float32, or in integers with inputs rounded to codes")
        tasks = key(
            "tasks", TaskChoices.none,
            "eval: tasks beside perplexity, scored as lm-eval does, such as hellaswag=FILE.jsonl,text=FILE.jsonl; into "
                + "results.json"
        )
        maxLength = key.optional(
            "max_length", orElse: "model", "eval.tasks: tokens read at most, as lm-eval's max_length; model: its positions",
            .range(2...1_048_576))
        limit = key.optional(
            "limit", orElse: "all", "eval.tasks: items of each file, from its beginning", .range(1...1_000_000_000))
        trained = key.path(
            "trained", orElse: "none",
            "eval: the model/ that train or qat has made of model.path, scored beside it; weights on an integer grid are not "
                + "rounded again"
        )
    }
}

extension RunConfig {
    /// The settings that score what a finished run has left as the run itself did: its configuration, with what it made in the
    /// place of what it started from.
    ///
    /// - Returns: the run's configuration file, and assignments over it.
    /// - Throws: ``ConfigurationError`` where the folder holds no finished run that can be scored; `FileError`.
    static func reproducing(run path: String) throws -> (file: String, assignments: [String]) {
        let run = path.withoutEndingSlashes
        let (file, summary) = ("\(run)/\(RunFiles.configuration)", "\(run)/\(RunFiles.summary)")
        guard PathKind(file) == .file, PathKind(summary) == .file else {
            throw ConfigurationError(
                run, "holds neither a finished run (config.yaml, summary.json) nor a model; give the folder of one")
        }
        let job = try InputFile.json(summary)["job"]?.string ?? ""
        let config = try RunConfig(recordedIn: file)
        // Whoever scores the run may have other ranks than it had.
        var assignments =
            try former(in: file) + [
                "out=auto", "export.formats=none", "rotation.starts=1", "parallel.data=auto", "parallel.pipeline=auto",
            ]
        let unquantized =
            ["quantization.weights.bits=16", "quantization.activations.bits=16", "quantization.kv.bits=16"]
            + ["quantization.kv.key_bits=same", "quantization.kv.value_bits=same"]
        let factors = "ternary.path=\(run)/\(RunFiles.factors)"
        switch job {
        case ModelJob.rotate.rawValue:
            let rotates = config.rotation.r1 != .none || config.rotation.r2 != .none
            if rotates { assignments += ["rotation.path=\(run)/\(RunFiles.rotations)"] }
            if config.rotation.path == nil { assignments += ["eval.hadamard=true"] }
            if config.quantization.weights.bits < 16 { assignments += ["eval.trained=\(run)/model"] }
        case ModelJob.ptq.rawValue: assignments += [factors, "eval.trained=\(run)/model"] + unquantized
        case ModelJob.qat.rawValue where config.qat.method == .ternary:
            // What it started from holds factors, and is no full precision to compare with.
            let isAlone = try CompressedFolder.execution(of: config.model.path.map(GivenPath.model)) != nil
            assignments += isAlone ? ["model.path=\(run)/model"] : [factors, "eval.trained=\(run)/model"]
            assignments += unquantized + (isAlone ? ["ternary.path=none"] : [])
        case ModelJob.qat.rawValue: assignments += ["eval.trained=\(run)/model", "qat.rotations=none"]
        case ModelJob.train.rawValue: assignments += ["eval.trained=\(run)/model"] + unquantized
        case ModelJob.quantize.rawValue:
            assignments += [
                "eval.trained=\(run)/model", "rotation.path=none", "quantization.weights.method=rtn",
                "rotation.balance=false",
                "quantization.activations.head_ranges=\(config.quantization.activations.headRanges ?? false)",
            ]
        case ModelJob.eval.rawValue: break
        default:
            throw ConfigurationError(
                run, "is a run of \(job), which writes no model; give a run that does, or a model's folder")
        }
        return (file, assignments)
    }

    /// - Parameters:
    ///   - asked: what is asked for besides.
    ///   - recorded: of a run, with what ``reproducing(run:)`` adds.
    /// - Throws: ``ConfigurationError`` where that says of a packed `model/` what its row would not use.
    static func check(_ asked: GivenSettings, over recorded: GivenSettings) throws {
        let (run, changed) = try (RunConfig(recorded), RunConfig(recorded.merging(asked) { $1 }))
        guard changed.ternary.path == nil, let path = changed.eval.trained,
            let execution = try CompressedFolder.execution(of: GivenPath.model(path))
        else { return }
        let ofWeights = ["weights.bits", "weights.symmetric", "weights.granularity", "weights.group_size"]
        let keys = (ofWeights + ["overrides", "embedding_bits", "head_bits"]).map { "quantization." + $0 }
        let haveGroups = [run, changed].allSatisfy { $0.quantization.weights.granularity.isGroup }
        for key in keys where asked[key] != nil && (haveGroups || !key.hasSuffix(".group_size")) {
            guard let value = run.values[key], let other = changed.values[key], value != other else { continue }
            throw ConfigurationError(key, "is \(other); \(path) is compressed and was made with \(value); leave it out")
        }
        _ = try running(execution, of: path, asked.filter { !keys.contains($0.key) })
    }

    /// Whether a path is a run's folder.
    package static func isRun(_ path: String) -> Bool {
        PathKind("\(path)/\(RunFiles.configuration)") == .file && PathKind("\(path)/config.json") == .absent
    }
}

extension LinearProduct: Choice {}

/// The tasks of an evaluation, each with its file, separated by commas.
package struct TaskChoices: SettingValue {
    package static let expectation =
        "TASK=FILE, separated by commas, or none; tasks are " + EvaluationTasks.names.joined(separator: ", ")
    package static let isText = true
    package static let none = TaskChoices(entries: [])

    /// A task and the file of its items.
    package struct Entry: Sendable {
        package let task: any EvaluationTask.Type
        package let path: String
        /// In results: the task's name, and the file's where the task is there more than once.
        package let label: String
    }
    package let entries: [Entry]

    private init(entries: [Entry]) { self.entries = entries }

    package init?(settingText text: String) {
        guard text != "none" else {
            self = .none
            return
        }
        guard let named = text.settingPairs else { return nil }
        var pairs: [(task: any EvaluationTask.Type, path: String)] = []
        for (name, path) in named {
            guard !path.isEmpty, !path.utf8.contains(0), let task = EvaluationTasks.named(String(name)) else { return nil }
            pairs.append((task, String(path)))
        }
        let entries = pairs.map { pair in
            let isAlone = pairs.count { $0.task.name == pair.task.name } == 1
            let file = pair.path.split(separator: "/").last.map { $0.split(separator: ".").first ?? $0 } ?? ""
            return Entry(task: pair.task, path: pair.path, label: isAlone ? pair.task.name : "\(pair.task.name)_\(file)")
        }
        self.init(entries: entries)
    }

    /// - Throws: ``ConfigurationError`` where two entries would have one name in the results.
    func check() throws(ConfigurationError) {
        for (place, entry) in entries.enumerated() {
            guard let other = entries[..<place].first(where: { $0.label == entry.label }) else { continue }
            throw ConfigurationError(
                "eval.tasks",
                "\(other.path) and \(entry.path) would both be \(entry.label) in the results, which are named after task and "
                    + "file; rename one file, or score them in two runs")
        }
    }

    package var settingText: String {
        entries.isEmpty ? "none" : entries.map { "\($0.task.name)=\($0.path)" }.joined(separator: ",")
    }

    /// As their text: tasks themselves cannot be compared.
    package static func == (a: TaskChoices, b: TaskChoices) -> Bool { a.settingText == b.settingText }
}
