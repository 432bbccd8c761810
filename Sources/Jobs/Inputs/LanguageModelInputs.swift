internal import Autograd
package import Collectives
package import Compression
package import Configuration
package import Datasets
internal import HuggingFace
package import Models
package import Parallelism
internal import Planning
package import Runs
package import Support
package import TensorCore

/// The checked input of a job on a language model, before it starts: the model's folder (without reading weights yet) and the
/// tokens.
package struct LanguageModelInputs {
    package let folder: ModelFolder
    /// What the folder's network does to activations.
    package let execution: Execution
    /// The blocks of every stage.
    package let stages: [Range<Int>]
    /// The training windows; nil where the model is to sample them.
    package let training: Windows?
    /// The evaluation windows; nil where the model is to sample them.
    package let evaluation: Windows?
    /// The token that sampled sequences begin with.
    package let firstSampledToken: Int32
    /// SHA-256 of all token windows that training reads (`Windows/digest()`); "sampled" where the model samples them, "none" in
    /// a job that does not train.
    package let dataDigest: String
    /// Notes for the user on the data, one line each.
    package let dataNotes: [String]
    /// The data's entry in `summary.json`.
    package let dataSummary: JSONObject

    /// - Throws: ``FileError``, ``DataError``, ``TokenizerError``, ``ConfigurationError``.
    ///
    /// - Parameter model: the model's folder.
    package init(
        _ model: String, _ config: RunConfig, _ dims: ParallelDims, job: String, needsTraining: Bool
    ) throws {
        let opened = try CompressedFolder(model)
        (folder, execution) = (opened.folder, opened.execution)
        let shape = folder.architecture
        guard config.data.sequenceLength <= shape.maximumPositions else {
            throw DataError.sequenceTooLong(length: config.data.sequenceLength, maximum: shape.maximumPositions)
        }
        stages = try config.stages(job, dims, shape)
        var loaded: Tokenizer?
        let folderPath = folder.path
        func tokenizer() throws -> Tokenizer {
            if let loaded { return loaded }
            let tokenizer = try Tokenizer(folder: folderPath)
            loaded = tokenizer
            return tokenizer
        }
        func windows(_ path: String?, limit: Int) throws -> Windows? {
            guard let path else { return nil }
            let source = try TokenSource(
                contentsOf: path, lines: config.data.lines, vocabularySize: shape.vocabularySize, tokenizer: tokenizer)
            let begin = config.data.bos == .sequence ? try tokenizer().bosToken : nil
            if let begin, Int(begin) >= shape.vocabularySize {
                throw DataError.beginTokenOutside(
                    path: folderPath, token: Int(begin), vocabularySize: shape.vocabularySize)
            }
            return try Windows(
                source, length: config.data.sequenceLength, maximum: shape.maximumPositions, bos: config.data.bos,
                bosToken: begin, limit: limit)
        }
        training = needsTraining ? try windows(config.data.train.path, limit: .max) : nil
        evaluation = try windows(config.data.eval.path, limit: config.data.evalWindows ?? .max)
        dataDigest = training?.digest() ?? (needsTraining ? "sampled" : "none")
        let report = DataReport(
            sequenceLength: config.data.sequenceLength, bos: config.data.bos, windowsAsked: config.data.evalWindows,
            windowsDrawn: Self.windowsDrawn(config), training: training, evaluation: evaluation, tokenizer: loaded)
        (dataNotes, dataSummary) = (report.notes, report.json)
        let draws = evaluation == nil || (needsTraining && training == nil)
        firstSampledToken = draws ? try Self.firstSampledToken(folder.config, vocabulary: shape.vocabularySize) : 0
    }

    /// The token that starts a text; 0 where config.json names none.
    private static func firstSampledToken(_ config: HFConfig, vocabulary: Int) throws(FileError) -> Int32 {
        guard let value = config.json["bos_token_id"], value != .null else { return 0 }
        guard let token = value.integer, (0..<vocabulary).contains(token) else {
            throw config.failure("bos_token_id", "\(value.text(.compact)) is not a token of the vocabulary of \(vocabulary)")
        }
        return Int32(token)
    }
}

extension LanguageModelInputs {
    /// The kinds of models that a job can start from.
    enum StartingPoint {
        /// Weights as floats.
        case floats
        /// Floats, or ternary factors.
        case factors
        /// Any folder that a job writes.
        case compressed
    }

    /// - Throws: ``ConfigurationError`` where the model is compressed in a way that the job cannot start from.
    func check(_ job: String, startsFrom start: StartingPoint) throws(ConfigurationError) {
        let hasIntegers = folder.packed.map { !$0.integers.isEmpty || !$0.tables.isEmpty } ?? false
        guard start != .compressed, isCompressed,
            !(start == .factors && !hasIntegers && execution == .plain && !CompressedFolder.isBinary(folder))
        else { return }
        let held = folder.packed.map { "holds \($0.form)" } ?? "quantizes activations"
        throw ConfigurationError(
            "model.path",
            "\(folder.path) \(held), and \(job) starts from floats; give the model it was made from, or the floats that "
                + "sq-train export --format huggingface makes of it")
    }

    /// Whether the model runs in any other way than as plain floats.
    var isCompressed: Bool { folder.packed != nil || execution != .plain }

    /// The factors in the model's folder; nil where there are none.
    var factorFile: String? {
        folder.packed == nil ? nil : "\(folder.path)/\(CompressedFolder.factorFileName)"
    }

    /// The digest of the windows that are scored, for checkpoints.
    var evaluationDigest: String { dataSummary["eval"]?["windows_sha256"]?.string ?? "sampled" }

    /// Tokens of the whole evaluation.
    func evaluationTokens(_ config: RunConfig) -> Int {
        (evaluation?.count ?? Self.windowsDrawn(config)) * config.data.sequenceLength
    }

    /// Windows to sample for an evaluation without a text.
    private static func windowsDrawn(_ config: RunConfig) -> Int {
        config.data.evalWindows ?? DataSettings.defaultEvalWindows
    }

    /// A line that tells the user which layers each stage holds, such as `1 replica of 2 stages: layers 0–2, attention of 3;
    /// feed-forward of 3, layer 4`; nil where there is only one stage.
    func stageLine(_ dims: ParallelDims) -> String? { Self.stageLine(dims, stages, folder.architecture) }

    static func stageLine(_ dims: ParallelDims, _ stages: [Range<Int>], _ architecture: Architecture) -> String? {
        guard dims.pipeline > 1 else { return nil }
        return
            "\(counted(dims.data, "replica")) of \(dims.pipeline) stages: "
            + stages.map(architecture.summary(of:)).joined(separator: "; ")
    }

    /// The windows to learn from: from the given text, or sampled from the model itself. Collective.
    ///
    /// - Parameter limit: the most windows that are sampled.
    package func trainingWindows(
        _ model: Model, _ parameters: Parameters<some TensorValue>, _ context: JobContext<some Communicator>,
        limit: Int = .max
    ) throws -> Windows {
        if let training { return training }
        let length = context.config.data.sequenceLength
        let drawn = try draw(
            min(limit, context.config.data.sampledSequences), "to learn from", stream: SeedStream.trainingTokens, model,
            parameters, context
        )
        return try Windows(TokenSource(tokens: drawn.flatMap(\.self), name: "sampled tokens"), length: length, maximum: length)
    }

    /// The windows to evaluate on: from the given text, or sampled from the model itself. Collective.
    package func evaluationWindows(
        _ model: Model, _ parameters: Parameters<some TensorValue>, _ context: JobContext<some Communicator>
    ) throws -> [[Int32]] {
        if let evaluation { return (0..<evaluation.count).map { evaluation[$0] } }
        return try draw(
            Self.windowsDrawn(context.config), "to evaluate on", stream: SeedStream.evaluationTokens, model, parameters,
            context)
    }

    private func draw(
        _ count: Int, _ purpose: String, stream: UInt64, _ model: Model, _ parameters: Parameters<some TensorValue>,
        _ context: JobContext<some Communicator>
    ) throws -> [[Int32]] {
        let (length, seed) = (context.config.data.sequenceLength, context.config.training.seed)
        context.reporter.note(
            "data-free: drawing \(count) sequences of \(length) tokens from the model itself \(purpose) (seed \(seed))")
        return try Trace.span(.draw) {
            try SampledTokens.draw(
                count, length: length, first: firstSampledToken, seed: UInt64(seed), stream: stream,
                from: model.constantNetwork(parameters), context.groups
            ) { context.reporter.progress("drawing", $0, of: count) }
        }
    }
}
