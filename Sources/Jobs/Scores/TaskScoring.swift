internal import Collectives
internal import Compression
internal import Configuration
internal import Evaluation
internal import Glibc
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Runs
internal import Support
internal import TensorCore

/// The tasks of `eval.tasks`, read and checked.
struct TaskWork {
    let files: [TaskFile]
    /// Requests of all files, one after the other.
    let requests: [LikelihoodRequest]
    /// Number of requests for each item of each file.
    let counts: [[Int]]
    let bos: String
    let truncated: Int
    /// The most tokens that the network reads at once.
    let length: Int

    /// Tokens that the network reads in all.
    var tokens: Int { requests.reduce(0) { $0 + $1.tokens.count } }

    /// Floating-point operations of its forward passes.
    func operations(_ architecture: Architecture) -> Double {
        let cost = ModelCost(architecture)
        return requests.reduce(0) { $0 + cost.forward(sequences: 1, length: $1.tokens.count) }
    }

    /// - Returns: nil where no task is asked for.
    /// - Throws: ``FileError``.
    init?(_ config: RunConfig, _ folder: ModelFolder) throws {
        guard !config.eval.tasks.entries.isEmpty else { return nil }
        let shape = folder.architecture
        length = min(config.eval.maxLength ?? shape.maximumPositions, shape.maximumPositions)
        let tokenizer = try Tokenizer(folder: folder.path)
        var maker = try RequestMaker(tokenizer, vocabulary: shape.vocabularySize, length: length, folder: folder.path)
        var (files, requests, counts) = ([TaskFile](), [LikelihoodRequest](), [[Int]]())
        for entry in config.eval.tasks.entries {
            let file = try TaskFile(entry.task, entry.path, label: entry.label, most: config.eval.limit)
            var own: [Int] = []
            for (index, item) in file.items.enumerated() {
                let some = try maker.requests(item, place: "\(entry.path): item \(index + 1)")
                own.append(some.count)
                requests += some
            }
            files.append(file)
            counts.append(own)
        }
        (self.files, self.requests, self.counts) = (files, requests, counts)
        truncated = maker.truncated
        bos = tokenizer.templateBeginsText ? "the tokenizer's own token, in front of every text" : "none"
    }
}

extension LanguageModelRun {
    /// Scores the tasks, and writes lm-eval's `results.json` beside the summary. Collective.
    ///
    /// - Parameter scored: the network of this rank's stage.
    /// - Returns: the entry in the summary.
    func score(_ work: TaskWork, _ scored: TaskNetwork) throws -> JSONValue {
        let start = Self.seconds
        var network = scored.network
        network.model = inputs.folder.description.model(positions: work.length)
        let likelihoods = try likelihoods(work.requests, of: network, context.groups) { done in
            context.reporter.progress("tasks", done, of: work.requests.count)
        }
        var (results, next) = ([TaskResult](), 0)
        for (file, counts) in zip(work.files, work.counts) {
            let count = counts.reduce(0, +)
            results.append(TaskResult(file, Array(likelihoods[next..<next + count]), counts: counts))
            next += count
        }
        let all = TaskResults(results, bos: work.bos)
        context.reporter.note("\nnetwork of the tasks: \(scored.text)\n" + all.text)
        if work.truncated > 0 {
            context.reporter.note(
                "warning: \(work.truncated) texts are longer than \(work.length) tokens, and lost their beginning")
        }
        try context.communicator.agree {
            guard context.communicator.isRoot else { return }
            let document = all.harness(
                model: inputs.folder.path, network: scored.text, length: work.length, limit: context.config.eval.limit,
                version: ProgramVersion.text, start: start, end: Self.seconds)
            try AtomicFile.write(document.text(.indented, sortedKeys: false) + "\n", to: context.folder.file(RunFiles.harness))
        }
        return all.json
    }

    private static var seconds: Double {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9
    }
}
