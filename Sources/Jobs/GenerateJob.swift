package import Collectives
internal import Compression
package import Configuration
internal import EmbeddedModel
package import Generation
internal import HuggingFace
internal import LinearAlgebra
internal import Models
package import Runs
internal import Support
internal import TensorCore

/// Text that a model writes after a prompt, token by token. In one process.
package struct GenerateJob {
    private let prompt: String

    package init(prompt: String) { self.prompt = prompt }

    /// - Parameter output: gets the text in pieces.
    /// - Throws: ``GenerationError``, ``ConfigurationError``; errors of reading.
    @discardableResult
    package func run(
        _ config: RunConfig, _ world: some Communicator, output: (String) -> Void
    ) throws -> Generator.End {
        let (folder, settings) = (try CompressedFolder.toRun(config, world), config.generate)
        let (shape, tokenizer) = (folder.folder.architecture, try Tokenizer(folder: folder.folder.path))
        let tokens = try promptTokens(tokenizer, vocabulary: shape.vocabularySize)
        guard tokens.count < shape.maximumPositions else {
            throw GenerationError.promptTooLong(tokens: tokens.count, most: shape.maximumPositions)
        }
        let most = min(settings.maxTokens, shape.maximumPositions - tokens.count)
        let capacity = tokens.count + most
        let model = try RunnableModel(
            folder, product: config.eval.product, cacheBits: settings.cacheBits, positions: capacity)
        var generator = Generator(
            model, capacity: capacity,
            choice: TokenChoice(temperature: settings.temperature, topP: settings.topP, seed: UInt64(config.training.seed)),
            endTokens: try folder.folder.endTokens(tokenizer))
        var text = TextStream(tokenizer, after: tokens)
        let end = try generator.run(tokens, most: most) { token in
            try StopRequest.check(on: world)
            let added = text.append(token)
            if !added.isEmpty { output(added) }
        }
        output(text.finish() + "\n")
        return end
    }

    private func promptTokens(_ tokenizer: Tokenizer, vocabulary: Int) throws(GenerationError) -> [Int32] {
        var tokens = tokenizer.encode(prompt, addSpecialTokens: true)
        if tokens.isEmpty, let begin = tokenizer.bosToken { tokens = [begin] }
        guard !tokens.isEmpty else { throw .emptyPrompt }
        if let token = tokens.first(where: { $0 < 0 || Int($0) >= vocabulary }) {
            throw .tokenOutside(token: Int(token), vocabulary: vocabulary)
        }
        return tokens
    }
}

/// Measures how fast a model reads a prompt and makes tokens, and leaves that in a run folder.
package struct GenerateBenchmarkJob: Job {
    package static let name = "generate"

    package init() {}

    package func run(_ context: JobContext<some Communicator>) throws {
        let (config, settings) = (context.config, context.config.generate)
        let start = ContinuousClock.now
        let folder = try CompressedFolder.toRun(config, context.communicator)
        let shape = folder.folder.architecture
        let capacity = settings.bench.promptTokens + settings.maxTokens
        guard capacity <= shape.maximumPositions else {
            throw ConfigurationError(
                "generate.bench.prompt_tokens",
                "\(settings.bench.promptTokens) and generate.max_tokens \(settings.maxTokens) are more than the model's "
                    + "\(shape.maximumPositions) positions")
        }
        try context.folder.claim()
        let model = try RunnableModel(
            folder, product: config.eval.product, cacheBits: settings.cacheBits, positions: capacity)
        try context.folder.create(config, job: Self.name)
        context.reporter.note("model \(folder.folder.path): \(shape.summary)")
        let result = try GenerationBenchmark(
            model, promptTokens: settings.bench.promptTokens, tokens: settings.maxTokens,
            repetitions: settings.bench.repetitions, seed: UInt64(config.training.seed)
        ) { done in
            try StopRequest.check(on: context.communicator)
            context.reporter.progress("measuring", done + 1, of: settings.bench.repetitions)
        }
        context.reporter.note("\n" + result.text)
        var summary = RunSummary(
            job: Self.name, model: folder.folder.path, seed: config.training.seed, worldSize: 1, dataParallel: 1,
            pipelineParallel: 1, steps: settings.maxTokens, seconds: (.now - start) / .seconds(1),
            secondsPerStep: result.tokenSeconds.median, tokensPerStep: 1,
            peakMemoryBytesPerRank: [RunSummary.peakMemoryBytes], bytesSentPerStep: 0,
            flopsPerStep: ModelCost(shape).forward(sequences: 1, length: 1), gemmPeakFlops: measureProductPeak(),
            coreShare: min(1, try context.communicator.coreShare() / Double(Team.threads)))
        summary.results["generate"] = result.json
        summary.results["product"] = .string(config.eval.product.rawValue)
        summary.results["key_bits"] = .integer(model.keys.bits)
        summary.results["value_bits"] = .integer(model.values.bits)
        try context.folder.write(summary)
    }
}

extension CompressedFolder {
    /// The folder to run.
    ///
    /// - Throws: ``ConfigurationError`` where there are several ranks, or the folder has no product in integers.
    fileprivate static func toRun(_ config: RunConfig, _ world: some Communicator) throws -> CompressedFolder {
        try world.agree {
            guard world.size == 1 else {
                throw ConfigurationError(
                    "generate", "runs in one process, and there are \(world.size) ranks; start it without mpirun")
            }
            let folder = try CompressedFolder(config.model.path ?? EmbeddedModel.path)
            guard config.eval.product == .float || folder.folder.packed != nil else {
                throw ConfigurationError(
                    "eval.product", "integer is for a compressed model; \(folder.folder.path) holds floats")
            }
            return folder
        }
    }
}

extension ModelFolder {
    /// The tokens that end a text: those of generation_config.json or, where that names none, of config.json or the tokenizer.
    ///
    /// - Throws: ``FileError`` for what is no token of the model.
    fileprivate func endTokens(_ tokenizer: Tokenizer) throws(FileError) -> Set<Int32> {
        let name = path + "/generation_config.json"
        for file in [PathKind(name) == .absent ? nil : try HFConfig(name), config].compactMap(\.self) {
            guard let value = file.value("eos_token_id") else { continue }
            guard let ids = value.integer.map({ [$0] }) ?? value.integers,
                ids.allSatisfy({ (0..<architecture.vocabularySize).contains($0) })
            else { throw file.failure("eos_token_id", "is no token of the model, nor a list of them") }
            return Set(ids.map(Int32.init))
        }
        return Set([tokenizer.eosToken].compactMap(\.self))
    }
}
