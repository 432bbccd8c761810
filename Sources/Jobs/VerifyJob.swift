package import Collectives
internal import Compression
package import Configuration
internal import Datasets
internal import Evaluation
internal import Glibc
internal import HuggingFace
internal import Models
package import Runs
package import Support
internal import TensorCore

/// Compares two model folders: every token's row of embedding and head, and the logits of all tokens and of text. This shows
/// whether a merge of rotations, or a conversion, left the function unchanged.
package struct VerifyJob {
    private let first: String
    private let second: String

    package init(_ first: String, _ second: String) {
        self.first = first
        self.second = second
    }

    /// A compared part, its difference, and the place of that.
    package struct Comparison: Sendable {
        /// The line for the user.
        package let line: String
        /// The relative difference, which should be at most `verify.tolerance`.
        package let change: Double
        package let place: String
    }

    /// - Throws: ``VerifyError/differ(change:tolerance:place:)`` above `verify.tolerance`; errors of reading.
    package func run(_ config: RunConfig, _ world: some Communicator, _ reporter: Reporter) throws {
        let (warnings, comparisons, tolerance, length) = try world.agree {
            world.isRoot ? try compare(config) : ([], [], 0, 0)
        }
        for warning in warnings { reporter.note("warning: \(warning)") }
        for comparison in comparisons { reporter.note(comparison.line) }
        try world.agree {
            // The first difference is the most specific: rows of tokens, then weights, then logits.
            if let found = comparisons.first(where: { !($0.change <= tolerance) }) {
                throw VerifyError.differ(change: found.change, tolerance: tolerance, place: found.place)
            }
        }
        reporter.note(
            "the two models compute the same function on sequences of up to \(length) tokens, to \(tolerance) of the largest "
                + "logit")
    }

    /// The two folders, which may differ only in their weights, packed or not.
    private static func folders(_ a: String, _ b: String) throws -> (ModelFolder, ModelFolder) {
        let (first, second) = (try CompressedFolder(a), try CompressedFolder(b))
        guard first.execution == second.execution else {
            throw ConfigurationError(
                b,
                "rounds or rotates activations otherwise than \(a); verify compares models that differ only in their weights")
        }
        return (first.folder, second.folder)
    }

    /// A warning where attention's windows differ, which only sequences longer than the shorter one show.
    private func windowWarning(_ a: Architecture, _ b: Architecture, length: Int) -> String? {
        for (own, other) in zip(a.blocks, b.blocks) where own.heads?.window != other.heads?.window {
            let windows = [own, other].compactMap { $0.heads?.window }
            guard let shorter = windows.min(), shorter >= length else { continue }
            let texts = [own, other].map { $0.heads?.window.map { "the last \($0)" } ?? "all" }
            return "attention sees \(texts[0]) tokens in \(first) and \(texts[1]) in \(second), which sequences of \(length) "
                + "tokens do not show; compare with data.sequence_length above \(shorter)"
        }
        return nil
    }

    private func compare(
        _ config: RunConfig
    ) throws -> (warnings: [String], [Comparison], tolerance: Double, length: Int) {
        let (a, b) = try Self.folders(ModelSource.folder(first), ModelSource.folder(second))
        guard a.architecture.vocabularySize == b.architecture.vocabularySize else {
            throw VerifyError.vocabularies(a.architecture.vocabularySize, b.architecture.vocabularySize)
        }
        let (weightsA, weightsB) = (try a.parameters(), try b.parameters())
        let length = min(
            config.data.sequenceLength, a.architecture.maximumPositions, b.architecture.maximumPositions)
        let (modelA, modelB) = (a.description.model(positions: length), b.description.model(positions: length))
        let tolerance = try config.verify.tolerance(between: (a, weightsA), (b, weightsB))
        let rows = TokenRows(weightsA, a.architecture).differences(
            from: TokenRows(weightsB, b.architecture), tolerance: tolerance)
        let tensors = differingTensors(weightsA, weightsB, tolerance)
        var comparisons = rows.map { comparison($0, tensors) }
        for text in try texts(a, length: length, config) {
            var logits = LogitComparison(name: text.name)
            for window in text.windows {
                logits.add(modelA.logits(window, weightsA), modelB.logits(window, weightsB), tokens: window)
            }
            comparisons.append(logits.comparison(tensors))
        }
        let warnings = [a, b].flatMap { folder in folder.warnings.map { "\(folder.path): \($0)" } }
        let windows = windowWarning(a.architecture, b.architecture, length: length)
        return (warnings + [windows].compactMap(\.self), comparisons, tolerance, length)
    }

    /// - Parameter tensors: the tensors that differ, if known; the head's rows include the last norm's gain.
    private func comparison(_ rows: TokenRows.Difference, _ tensors: [String]) -> Comparison {
        let named = rows.tokens.prefix(5).map(String.init).joined(separator: ", ")
        let plural = rows.tokens.count == 1 ? "" : "s"
        let more = rows.tokens.count > 5 ? " and \(rows.tokens.count - 5) more" : ""
        return Comparison(
            line: "\(rows.tensor): largest difference of a token's row \(rows.largest.threeDigits) of its length",
            change: rows.largest,
            place: (tensors.isEmpty || tensors.contains(rows.tensor) ? "" : "\(tensors.firstNames), which shows in ")
                + "\(rows.tensor), the row\(plural) of token\(plural) \(named)\(more)"
        )
    }

    /// The tensors that differ, if most do not, so that the models cannot differ by a rotation. Empty where they may.
    private func differingTensors(_ a: Parameters<Tensor>, _ b: Parameters<Tensor>, _ tolerance: Double) -> [String] {
        let (x, y) = (a.named, b.named)
        guard x.map(\.name) == y.map(\.name), x.map(\.value.shape) == y.map(\.value.shape) else { return [] }
        let differing = zip(x, y).filter { p, q in
            !(Double((p.value - q.value).maxMagnitude) <= tolerance * Double(p.value.maxMagnitude))
        }
        return 2 * differing.count < x.count ? differing.map(\.0.name) : []
    }

    private func texts(
        _ folder: ModelFolder, length: Int, _ config: RunConfig
    ) throws -> [(name: String, windows: [[Int32]])] {
        var result = [everyToken(folder.architecture, length: length, seed: config.training.seed)]
        let vocabulary = folder.architecture.vocabularySize
        if let path = config.data.eval.path {
            let source = try TokenSource(contentsOf: path, lines: config.data.lines, vocabularySize: vocabulary) {
                try Tokenizer(folder: folder.path)
            }
            // A single token has no next token to predict.
            let windows = try Windows(source, length: min(length, max(2, source.tokens.count)), maximum: length, limit: 4)
            result.append(("\(path), \(windows.count) windows", (0..<windows.count).map { windows[$0] }))
        } else {
            let text = Array(try Tokenizer(folder: folder.path).encode(Self.sample, addSpecialTokens: true).prefix(length))
            if let position = text.firstIndex(where: { $0 < 0 || Int($0) >= vocabulary }) {
                throw DataError.tokenOutside(
                    path: folder.path + "/tokenizer.json", position: position, token: Int(text[position]),
                    vocabularySize: vocabulary)
            }
            result.append(("a paragraph of text", [text]))
        }
        return result
    }

    /// Every token once, in random order, or fewer tokens for a model for which that would take long.
    private func everyToken(_ c: Architecture, length: Int, seed: Int) -> (name: String, windows: [[Int32]]) {
        var tokens = (0..<Int32(c.vocabularySize)).map(\.self)
        var random = RandomStream(seed: UInt64(seed), stream: 0x7665_7269_6679)
        for i in stride(from: tokens.count - 1, to: 0, by: -1) { tokens.swapAt(i, Int(random.next() % UInt64(i + 1))) }
        let perWindow = ModelCost(c).forward(sequences: 1, length: length)
        let limit = max(1, Int(min(Self.mostOperations / perWindow, 1e9)))
        let starts = Array(stride(from: 0, to: tokens.count, by: length).prefix(limit))
        let windows = starts.map { start in
            // The last window is filled with the first tokens again.
            (0..<length).map { tokens[(start + $0) % tokens.count] }
        }
        let fed = min(tokens.count, windows.count * length)
        return (fed == tokens.count ? "every token (\(fed))" : "\(fed) of \(tokens.count) tokens at random", windows)
    }

    /// The most operations that each model spends on random tokens, which take seconds on a few cores. The rows of all tokens
    /// are compared in addition.
    private static let mostOperations = 5e11

    /// Text for the comparison where no file is given.
    private static let sample = """
        The river had been rising since noon. By evening the lower meadow was under water, and the two brothers moved the \
        sheep to the hill while their mother counted the lambs by lantern light. "Eighty-one," she said, "and one is \
        missing." In 1953 the dam at the head of the valley was raised by 4.5 meters; nobody there has seen such a flood \
        again.
        """
}

/// The logits of two models over windows.
private struct LogitComparison {
    let name: String
    private var (change, largest): (Float, Float) = (0, 0)
    private var (agreeing, positions) = (0, 0)
    private var place = "every logit"

    init(name: String) { self.name = name }

    mutating func add(_ x: Tensor, _ y: Tensor, tokens: [Int32]) {
        largest = max(largest, x.maxMagnitude)
        for row in 0..<x.rows {
            var (bestX, bestY) = (0, 0)
            for column in 0..<x.columns {
                let (p, q) = (x[row, column], y[row, column])
                // Written so that NaN counts as the largest.
                if !(abs(p - q) <= change) {
                    change = (p - q).isNaN ? .infinity : abs(p - q)
                    place = "the logit of token \(column) after token \(tokens[row]) at position \(row)"
                }
                if p > x[row, bestX] { bestX = column }
                if q > y[row, bestY] { bestY = column }
            }
            agreeing += bestX == bestY ? 1 : 0
            positions += 1
        }
    }

    func comparison(_ tensors: [String]) -> VerifyJob.Comparison {
        let relative = Double(change) / Double(max(largest, .leastNormalMagnitude))
        let share = (100 * Double(agreeing) / Double(max(1, positions))).formatted(decimals: 2)
        return VerifyJob.Comparison(
            line:
                "\(name): largest logit change \(relative.threeDigits) of the largest logit, same next token at \(share) % of "
                + "positions",
            change: relative, place: place + (tensors.isEmpty ? "" : "; tensors that differ: \(tensors.firstNames)"))
    }
}

extension [String] {
    /// The first three names, and the number of others.
    fileprivate var firstNames: String {
        prefix(3).joined(separator: ", ") + (count > 3 ? " and \(count - 3) more" : "")
    }
}

extension Double {
    /// Rounded to three significant digits.
    fileprivate var threeDigits: String {
        guard isFinite, self != 0 else { return "\(self)" }
        let scale = pow(10, 2 - floor(log10(abs(self))))
        return "\((self * scale).rounded() / scale)"
    }
}

/// An error: two models are not the same function; exit code 1.
package enum VerifyError: ReportableError, Equatable {
    case differ(change: Double, tolerance: Double, place: String)
    case vocabularies(Int, Int)

    package var exitCode: ExitCode { .differ }

    package var description: String {
        switch self {
        case .differ(let change, let tolerance, let place):
            "verify: the models differ by \(change.threeDigits), more than verify.tolerance \(tolerance): \(place)"
        case .vocabularies(let a, let b): "verify: the models differ: their vocabularies have \(a) and \(b) tokens"
        }
    }
}
