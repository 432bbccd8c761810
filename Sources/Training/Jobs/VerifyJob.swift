package import Collectives
internal import Evaluation
internal import HuggingFace
internal import Models
package import TensorCore

/// Compares the logits of two model folders, on random tokens and on text: whether a merge of rotations, or a conversion, left
/// the function as it was.
package struct VerifyJob {
    private let first: String
    private let second: String

    package init(_ first: String, _ second: String) {
        self.first = first
        self.second = second
    }

    /// What was compared with what, and how far apart the logits are.
    package struct Comparison: Sendable {
        package let tokens: String
        /// max|a − b| / max|a| over all logits.
        package let change: Double
        /// Positions whose most likely next token is the same, of all.
        package let agreement: Double
    }

    /// - Throws: ``VerifyError/differ(_:tolerance:)`` above `verify.tolerance`; errors of reading.
    package func run(_ config: RunConfig, _ world: some Communicator, _ reporter: Reporter) throws {
        let comparisons = try world.agree { world.isRoot ? try compare(config) : [] }
        for comparison in comparisons {
            reporter.note(
                "\(comparison.tokens): largest logit change \(comparison.change) of the largest logit, "
                    + "same next token at \((100 * comparison.agreement).formatted(decimals: 2)) % of positions")
        }
        try world.agree {
            let worst = comparisons.map(\.change).max() ?? 0
            guard worst <= config.verify.tolerance else {
                throw VerifyError.differ(change: worst, tolerance: config.verify.tolerance)
            }
        }
        reporter.note("the two models compute the same function, to \(config.verify.tolerance) of the largest logit")
    }

    private func compare(_ config: RunConfig) throws -> [Comparison] {
        let (a, b) = (try ModelFolder(GivenPath.model(EmbeddedModel.resolve(first))), try ModelFolder(GivenPath.model(EmbeddedModel.resolve(second))))
        guard a.architecture.vocabularySize == b.architecture.vocabularySize else {
            throw VerifyError.vocabularies(a.architecture.vocabularySize, b.architecture.vocabularySize)
        }
        let (weightsA, weightsB) = (try a.parameters(), try b.parameters())
        let length = min(
            config.data.sequenceLength, a.architecture.maximumPositions, b.architecture.maximumPositions)
        let (modelA, modelB) = (a.description.model(positions: length), b.description.model(positions: length))
        return try sequences(a, length: length, config).map { name, tokens in
            let (x, y) = (modelA.logits(tokens, weightsA), modelB.logits(tokens, weightsB))
            return Comparison(tokens: name, change: relativeLogitChange(x, y), agreement: agreement(x, y))
        }
    }

    private func sequences(_ folder: ModelFolder, length: Int, _ config: RunConfig) throws -> [(String, [Int32])] {
        let vocabulary = UInt64(folder.architecture.vocabularySize)
        var random = RandomStream(seed: UInt64(config.training.seed), stream: 0x7665_7269_6679)
        var result = [("random tokens", (0..<length).map { _ in Int32(random.next() % vocabulary) })]
        if let path = config.data.eval.path {
            let source = try TokenSource(contentsOf: path, lines: config.data.lines, vocabularySize: Int(vocabulary)) {
                try Tokenizer(folder: folder.path)
            }
            let windows = try Windows(source, length: min(length, source.tokens.count), maximum: length, limit: 4)
            for index in 0..<windows.count { result.append(("\(path), window \(index + 1)", windows[index])) }
        } else {
            let text = Array(try Tokenizer(folder: folder.path).encode(Self.sample, addSpecialTokens: true).prefix(length))
            if let position = text.firstIndex(where: { $0 < 0 || UInt64($0) >= vocabulary }) {
                throw DataError.tokenOutside(
                    path: folder.path + "/tokenizer.json", position: position, token: Int(text[position]), vocabularySize: Int(vocabulary))
            }
            result.append(("a paragraph of text", text))
        }
        return result
    }

    private func agreement(_ x: Tensor, _ y: Tensor) -> Double {
        func best(_ logits: Tensor, _ row: Int) -> Int {
            (0..<logits.columns).max { logits[row, $0] < logits[row, $1] } ?? 0
        }
        return Double((0..<x.rows).filter { best(x, $0) == best(y, $0) }.count) / Double(max(1, x.rows))
    }

    /// Text for the comparison where no file is given.
    private static let sample = """
        The river had been rising since noon. By evening the lower meadow was under water, and the two brothers moved the sheep \
        to the hill while their mother counted the lambs by lantern light. "Eighty-one," she said, "and one is missing." In 1953 \
        the dam at the head of the valley was raised by 4.5 metres; nobody there has seen such a flood again.
        """
}

package enum VerifyError: ReportableError, Equatable {
    case differ(change: Double, tolerance: Double)
    case vocabularies(Int, Int)

    package var exitCode: ExitCode { .data }

    package var description: String {
        switch self {
        case .differ(let change, let tolerance):
            "verify: a logit changed by \(change) of the largest one, more than verify.tolerance \(tolerance)"
        case .vocabularies(let a, let b): "verify: the models have vocabularies of \(a) and \(b); they cannot be compared"
        }
    }
}
