package import HuggingFace
package import Support

/// What the user should know of a run's data before its numbers, and its entry in `summary.json`.
package struct DataReport {
    /// One line each.
    package private(set) var notes: [String] = []
    package private(set) var json = JSONObject()

    /// - Parameters:
    ///   - windowsAsked: to evaluate; nil for all.
    ///   - windowsDrawn: to evaluate where the model draws them.
    ///   - training: nil where there is none, or where the model draws it.
    ///   - tokenizer: nil where no text was read.
    package init(
        sequenceLength: Int, bos: BeginOfSequence, windowsAsked: Int?, windowsDrawn: Int, training: Windows?,
        evaluation: Windows?, tokenizer: Tokenizer?
    ) {
        json["sequence_length"] = .integer(sequenceLength)
        json["bos"] = .string(bos.rawValue)
        var dropped = 0
        for (name, windows) in [("train", training), ("eval", evaluation)] {
            guard let windows else { continue }
            var entry = Self.entry(windows)
            if name == "eval" { entry["windows_sha256"] = .string(windows.digest()) }
            json[name] = .object(entry)
            dropped += windows.source.lost.dropped
            add(Self.loss(of: windows.source) + Self.beginnings(of: windows))
        }
        if evaluation == nil { json["eval"] = ["windows": .integer(windowsDrawn)] }
        json["dropped_bytes"] = .integer(dropped)
        if bos == .none, let tokenizer, tokenizer.templateBeginsText, let begin = tokenizer.bosToken,
            [training, evaluation].contains(where: {
                $0.map { $0.source.textBytes > 0 && $0.source.tokens.first != begin } ?? false
            })
        {
            add([
                "note: windows hold text only; the tokenizer would begin a text with \(Self.name(begin, tokenizer)), and "
                    + "data.bos=sequence puts it in front of each window"
            ])
        }
        if let evaluation, let asked = windowsAsked, evaluation.count < asked {
            add([
                "note: \(evaluation.source.path) has \(counted(evaluation.count, "window")) of \(sequenceLength) tokens; "
                    + "data.eval.windows asks for \(asked)"
            ])
        }
        if let training, let evaluation, let digest = training.source.sha256, digest == evaluation.source.sha256 {
            add([
                "note: \(training.source.path) is learned from and evaluated on: the perplexity is that of text already seen; "
                    + "give data.eval.path another text"
            ])
        }
    }

    /// The same file may be read twice.
    private mutating func add(_ lines: [String]) { notes += lines.filter { !notes.contains($0) } }

    private static func entry(_ windows: Windows) -> JSONObject {
        let source = windows.source
        var entry = JSONObject()
        entry["path"] = .string(source.path)
        entry["sha256"] = source.sha256.map { .string($0) } ?? .null
        entry["windows"] = .integer(windows.count)
        entry["dropped_bytes"] = .integer(source.lost.dropped)
        entry["unknown_bytes"] = .integer(source.lost.unknown)
        entry["skipped_lines"] = .integer(source.skippedLines)
        return entry
    }

    private static func loss(of source: TokenSource) -> [String] {
        var lines: [String] = []
        func share(_ bytes: Int) -> String {
            let percent = 100 * min(1, Double(bytes) / Double(max(1, source.textBytes)))
            return "\(counted(bytes, "byte")) of the text (\(percent.formatted(decimals: percent < 1 ? 4 : 1)) %)"
        }
        if source.lost.dropped > 0 {
            lines.append("warning: \(source.path): \(share(source.lost.dropped)) have no token and were dropped")
        }
        if source.lost.unknown > 0 {
            lines.append("note: \(source.path): \(share(source.lost.unknown)) have no token and became the unknown token")
        }
        if let first = source.firstSkipped {
            lines.append(
                "note: \(source.path): \(counted(source.skippedLines, "line")) skipped (data.bad_lines: skip), "
                    + "the first of them \(first)"
            )
        }
        return lines.map(\.singleLine)
    }

    private static func beginnings(of windows: Windows) -> [String] {
        let source = windows.source
        if windows.begunAlready > 0 {
            return [
                "note: \(windows.begunAlready) of \(counted(windows.count, "window")) of \(source.path) began with the token "
                    + "that data.bos=sequence puts in front; each has it once"
            ]
        }
        return []
    }

    private static func name(_ token: Int32, _ tokenizer: Tokenizer) -> String {
        "\(tokenizer.name(of: token) ?? "token") (\(token))".singleLine
    }
}
