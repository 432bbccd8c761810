package import Collectives
internal import Compression
package import Configuration
package import Generation
internal import HuggingFace
internal import Models
internal import Parallelism

/// Text that a model writes after a prompt, token by token. The ranks are stages of the model.
package struct GenerateJob {
    private let prompt: () throws -> String

    /// - Parameter prompt: asked on the first rank.
    package init(prompt: @escaping () throws -> String) { self.prompt = prompt }

    /// Collective.
    ///
    /// - Parameter output: gets the text in pieces, on the first rank.
    /// - Throws: ``GenerationError``, ``ConfigurationError``; errors of reading; what `prompt` throws.
    @discardableResult
    package func run(
        _ config: RunConfig, _ world: some Communicator, output: (String) -> Void
    ) throws -> Generator.End {
        let settings = config.generate
        let dims = try world.agree { try config.stagesAlone("generate", worldSize: world.size) }
        let staged = try StagedFolder(config, dims, world)
        let prompt = try GenerationPrompt(staged.folder.folder, world) { tokenizer in
            tokenizer.encode(try self.prompt(), addSpecialTokens: true)
        }
        // Whoever types the prompt may take their time.
        try world.watch(longestWait: .seconds(config.watchdog.step))
        let most = min(settings.maxTokens, staged.shape.maximumPositions - prompt.tokens.count)
        let capacity = prompt.tokens.count + most
        let model = try staged.model(config, positions: capacity, world)
        var generator = Generator(
            model, capacity: capacity,
            choice: TokenChoice(temperature: settings.temperature, topP: settings.topP, seed: UInt64(config.training.seed)),
            endTokens: prompt.endTokens)
        var text = prompt.tokenizer.map { TextStream($0, after: prompt.tokens) }
        do {
            let end = try generator.run(prompt.tokens, most: most, over: RankStages(world)) { token in
                try StopRequest.check(on: world)
                let added = text?.append(token) ?? ""
                if !added.isEmpty { output(added) }
            }
            if let rest = text?.finish() { output(rest + "\n") }
            return end
        } catch let error as GenerationError {
            // All ranks have it at once.
            throw AgreedError(error)
        }
    }
}
