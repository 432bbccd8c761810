internal import ChatTemplates
package import Collectives
internal import Compression
package import Configuration
internal import Generation
internal import Glibc
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Runs

/// Generates text after a prompt, token by token. The ranks are stages of the model.
package struct GenerateJob {
    private let prompt: () throws -> String
    private let chat: Chat?

    /// Settings of a chat, in which the prompt is a user's message that the model answers.
    package struct Chat: Sendable {
        /// The system message; nil for none.
        let system: String?

        package init(system: String? = nil) { self.system = system }
    }

    /// Why the text has ended.
    package enum End: Sendable {
        /// A token that ends a text.
        case stop
        /// As many tokens as were asked for.
        case length
        /// As many as the model has positions for, fewer than were asked for.
        case positions
    }

    /// - Parameters:
    ///   - chat: nil where the text continues the prompt itself.
    ///   - prompt: called on the first rank.
    package init(chat: Chat? = nil, prompt: @escaping () throws -> String) { (self.chat, self.prompt) = (chat, prompt) }

    /// Collective.
    ///
    /// - Parameter output: receives the text in pieces, on the first rank.
    /// - Throws: `GenerationError`, `ConfigurationError`; errors of reading and of the chat template; what `prompt` throws.
    @discardableResult
    package func run(
        _ config: RunConfig, _ world: some Communicator, output: (String) -> Void
    ) throws -> End {
        let settings = config.generate
        let dims = try world.agree { try config.stagesAlone("generate", worldSize: world.size) }
        let staged = try StagedFolder(config, dims, world)
        let prompt = try GenerationPrompt(staged.folder.folder, world) { tokenizer in
            guard let chat else { return tokenizer.encode(try self.prompt(), addSpecialTokens: true) }
            // The template adds the special tokens itself, including the first one.
            return tokenizer.encode(try conversation(chat, staged.folder.folder.path), addSpecialTokens: false)
        }
        let ignored = try world.agree { try GenerationRules.keys(ofFolder: staged.folder.folder.path) }
        if !ignored.isEmpty, world.isRoot {
            Console.printError(
                "note: generation_config.json asks for \(ignored.joined(separator: ", ")), which generate does not follow")
        }
        // Typing the prompt may take any time.
        let problem = try world.watch(longestWait: .seconds(config.watchdog.step))
        if let problem, world.isRoot { Console.printError("warning: \(problem)") }
        let most = min(settings.maxTokens, staged.shape.maximumPositions - prompt.tokens.count)
        let capacity = prompt.tokens.count + most
        let model = try staged.model(config, positions: capacity, world)
        var generator = Generator(
            model, capacity: capacity,
            choice: TokenChoice(temperature: settings.temperature, topP: settings.topP, seed: UInt64(config.training.seed)),
            endTokens: prompt.endTokens)
        var text = prompt.tokenizer.map { TextStream($0, after: prompt.tokens) }
        var isInLine = false
        do {
            let end = try generator.run(prompt.tokens, most: most, over: RankStages(world)) { token in
                try StopRequest.check(on: world)
                let added = text?.append(token) ?? ""
                guard !added.isEmpty else { return }
                StopRequest.setAdvice(Self.advice)
                output(added)
                isInLine = true
            }
            if let rest = text?.finish() { output(rest + "\n") }
            return end == .stop ? .stop : most < settings.maxTokens ? .positions : .length
        } catch let error as GenerationError {
            if isInLine { output("\n") }
            // All ranks have this error at the same time.
            throw AgreedError(error)
        }
    }

    /// The message where the user has stopped the text in the middle of a line, or where the program that reads it has ended.
    private static func advice() -> String {
        StopRequest.signal == SIGPIPE ? "stopped: the output is no longer read" : "\nstopped on request before the text's end"
    }

    /// The conversation, rendered by the folder's template.
    private func conversation(_ chat: Chat, _ folder: String) throws -> String {
        let template = try FolderChat(folder: folder)
        let system = chat.system.map { [FolderChat.Message(role: "system", $0)] } ?? []
        return try template.text(system + [FolderChat.Message(role: "user", prompt())], now: time(nil))
    }
}
