internal import ArgumentParser
internal import Configuration
internal import Exports
internal import HuggingFace
internal import Jobs
internal import Models
internal import Runs
internal import Support

struct ExportCommand: SingleCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write a model in a form that other programs load.",
        discussion: "FORMAT is one of:\n"
            + ModelWriters.all.map { "  \($0.format.rawValue): \($0.summary)." }.joined(separator: "\n")
            + "\n\nWhat is written is read back and compared before it gets its name.")

    @Argument(help: "A Hugging Face folder, a run folder with a model, or a GGUF file.")
    var folder: String

    @Option(help: ArgumentHelp("What to write.", valueName: "format"))
    var format: String

    @OptionGroup var target: TargetOptions

    func validate() throws {
        guard ExportFormat(rawValue: format) != nil else {
            throw ValidationError("--format '\(format)': expected one of \(ExportFormat.names)")
        }
        guard target.dtype == "input" || format == ExportFormat.huggingface.rawValue else {
            throw ValidationError("--dtype \(target.dtype): is for --format huggingface; \(format) says its types itself")
        }
    }

    func run() throws {
        let writer = try ModelWriters.named(format)
        let source = writer.readsModel ? try ModelSource.folder(folder) : folder
        try target.report(writer.write(target.request(source)))
    }
}

struct ImportCommand: SingleCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Make a Hugging Face folder from a GGUF file (F32, F16, BF16, Q8_0, Q4_0, Q4_1, TQ2_0).",
        discussion: """
            config.json, tokenizer.json and the weights as floats, in the type that holds them exactly unless --dtype names \
            another. What is written is read back and compared before it gets its name.
            """)

    @Argument(help: "A GGUF file.")
    var file: String

    @OptionGroup var target: TargetOptions

    func run() throws { try target.report(GGUFImport().write(target.request(file))) }
}

/// Where and how a model is written.
struct TargetOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The file or folder to write.", valueName: "path"))
    var out: String

    @Option(help: ArgumentHelp("Type of dense weights: input, float32, float16 or bfloat16.", valueName: "type"))
    var dtype = "input"

    @Option(
        help: ArgumentHelp(
            "Largest file of weights in a folder, such as 5GiB (default: "
                + "\(ExportRequest.defaultShardBytes / 1_000_000_000) GB).",
            valueName: "size"))
    var shardBytes: String?

    @Flag(help: "Replace the file or the model's folder that is there, if it holds nothing else.")
    var overwrite = false

    func validate() throws {
        guard !out.isEmpty else { throw ValidationError("--out names no path") }
        guard dtype == "input" || ElementType(frameworkName: dtype) != nil else {
            throw ValidationError("--dtype '\(dtype)': expected input, float32, float16 or bfloat16")
        }
        guard let shardBytes else { return }
        guard let size = ByteCount(settingText: shardBytes), size.bytes > 0 else {
            throw ValidationError("--shard-bytes '\(shardBytes)': expected \(ByteCount.expectation)")
        }
    }

    func request(_ source: String) -> ExportRequest {
        ExportRequest(
            source: source, out: out, overwrites: overwrite,
            shardBytes: shardBytes.flatMap(ByteCount.init(settingText:))?.bytes ?? ExportRequest.defaultShardBytes,
            elementType: ElementType(frameworkName: dtype))
    }

    func report(_ report: ExportReport) throws {
        for note in report.notes { Console.printOutput("note: \(note)\n") }
        let bits =
            report.weights > 0
            ? ", \((8 * Double(report.bytes) / Double(report.weights)).formatted(decimals: 2)) bits per parameter" : ""
        Console.printOutput("\(report.path): \(report.bytes) bytes\(bits); \(report.checked)\n")
    }
}
