internal import ArgumentParser
internal import Collectives
internal import Configuration
internal import Generation
internal import Glibc
internal import Jobs
internal import Runs
internal import Support

struct GenerateCommand: RankCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Text that a model writes after a prompt, from any folder that model.path takes.",
        discussion: """
            The likeliest tokens, or drawn ones (generate.temperature, generate.top_p, training.seed). Compressed folders run \
            as they say; eval.product=integer multiplies their packed linears in integers. Without --prompt the text comes \
            from standard input, without the newline that ends its last line.
            Under mpirun each rank holds a part of the layers, and the text is that of one process.
            --bench measures prefill and decode instead, and writes summary.json into a run folder.
            """)

    @OptionGroup var model: ModelArgument

    @Option(help: ArgumentHelp("The text to continue.", valueName: "text"))
    var prompt: String?

    @Flag(help: "Treat the text as a user's message and answer it, with the folder's chat template.")
    var chat = false

    @Option(help: ArgumentHelp("With --chat: the system message.", valueName: "text"))
    var system: String?

    @Flag(help: "Measure tokens per second and the share of the memory bandwidth.")
    var bench = false

    @OptionGroup var options: ConfigurationOptions

    /// Whether the text comes from standard input.
    var readsInput: Bool { prompt == nil && !bench && !options.printConfig }

    func validate() throws {
        if !bench { try options.checkNamesNoFolder("generate without --bench") }
        if system != nil, !chat { throw ValidationError("--system is for a conversation; add --chat") }
        if bench, let given = [("--prompt", prompt != nil), ("--chat", chat)].first(where: \.1)?.0 {
            throw ValidationError("--bench draws its own prompt; leave \(given) out")
        }
        for section in ["quantization.", "rotation.", "ternary."] {
            if let other = options.assignments.first(where: { $0.hasPrefix(section) }) {
                throw ValidationError(
                    "--set \(other): generate runs a folder as it is; sq-train quantize makes a compressed one")
            }
        }
    }

    func run(on communicator: some Communicator) throws {
        if bench || options.printConfig {
            return try GenerateBenchmarkJob().run(options, model: model.model, on: communicator)
        }
        let config = try options.request(model.model).configuration(job: GenerateBenchmarkJob.name, on: communicator)
        let placement = try config.chooseThreads(on: communicator)
        if placement.hasTooManyThreads, communicator.isRoot { Console.printError(placement.line) }
        let end = try GenerateJob(chat: chat ? .init(system: system) : nil) { try prompt ?? Self.standardInput() }
            .run(config, communicator, output: Console.printOutput)
        if end == .positions, communicator.isRoot {
            Console.printError("the model has no position left; generate.max_tokens=\(config.generate.maxTokens) asks for more")
        }
    }

    /// Without one final newline: `echo` and editors end a text with it, and a model would continue with a new line.
    ///
    /// - Throws: `FileError` where it cannot be read, is no UTF-8, or is longer than any model's positions.
    private static func standardInput() throws(FileError) -> String {
        let name = "standard input"
        var (bytes, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 1 << 16))
        while true {
            let count = read(STDIN_FILENO, &buffer, buffer.count)
            if count == 0 { break }
            if count < 0 {
                if errno == EINTR { continue }
                throw FileError(.inputOutput, name, "cannot be read: \(systemMessage(errno))")
            }
            bytes += buffer.prefix(count)
            guard bytes.count <= 64 << 20 else { throw FileError(.malformed, name, "has more than 64 MiB") }
        }
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast(bytes.suffix(2).elementsEqual("\r\n".utf8) ? 2 : 1) }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw FileError(.malformed, name, "is not UTF-8")
        }
        return text
    }
}
