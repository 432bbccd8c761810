internal import Collectives
internal import Configuration
internal import Runs
internal import Support

/// The results of a sweep: `sweep.csv`, `sweep.json`, and the picture.
///
/// A run's numbers are those of the row that its summary names as `result` (``ScoreTable/result``).
struct SweepReport {
    struct Row {
        let run: SweepGrid.Run
        var model = ""
        /// What its scores were computed on; those of other texts cannot be compared with it.
        var evaluation = ""
        /// SHA-256 of the scored windows' tokens; nil where the model drew them, and in summaries of earlier versions.
        var windows: String?
        var label = ""
        var perplexity: Double?
        var divergence: Double?
        var bitsPerWeight: Double?
        var bytes: Int?
        var seconds: Double?
        /// Why there are no numbers.
        var failure: String?
        /// Whether no run of the same model, scored on the same text, is as good with fewer bits, or better with equally many.
        var isOnFront = false
    }

    private(set) var rows: [Row] = []
    /// The error of the first run that failed.
    private(set) var firstFailure: AgreedError?
    /// Keys that a grid varies, in the order of their first run.
    private let keys: [String]
    /// The first path of each model.
    private var models: [String: String] = [:]

    init(_ grid: SweepGrid) {
        keys = grid.runs.flatMap { $0.varied.map(\.key) }.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    /// The runs that have ended so far, or had finished before, in the order of the grid.
    ///
    /// - Parameter folder: the sweep's folder, with a folder for each run.
    init(_ grid: SweepGrid, _ ledger: SweepLedger, in folder: String) throws(FileError) {
        self.init(grid)
        for (run, outcome) in zip(grid.runs, try ledger.outcomes(of: grid.runs.count)) {
            switch outcome {
            case .unfinished: break
            case .finished: try add(run, summary: "\(folder)/\(run.name)/\(RunFiles.summary)")
            case .failed(let error, let model): add(run, model, error)
            }
        }
        markFront()
    }

    mutating func add(_ run: SweepGrid.Run, summary path: String) throws(FileError) {
        let summary = try InputFile.json(path)
        var row = Row(run: run)
        row.model = named(summary["model"]?.string ?? "")
        row.evaluation = Self.evaluation(summary)
        row.windows = summary["data"]?["eval"]?["windows_sha256"]?.string
        let scored = summary["rows"]?.array ?? []
        // Earlier versions named no result, which was the last row.
        let key = summary["result"]?.string ?? scored.last?["key"]?.string
        if let result = scored.last(where: { $0["key"]?.string == key }) {
            row.label = result["label"]?.string ?? ""
            row.perplexity = result["perplexity"]?.number
            row.divergence = result["kl_divergence"]?.number
            row.bitsPerWeight = result["bits_per_weight"]?.number
            row.bytes = result["bytes"]?.integer
        }
        row.seconds = summary["seconds"]?.number
        rows.append(row)
    }

    /// The evaluated windows as a summary tells them: the text by its digest, since it may be given by several paths, or the
    /// seed that the model drew them with.
    private static func evaluation(_ summary: JSONValue) -> String {
        let data = summary["data"]
        var windows = JSONObject()
        for key in ["sha256", "windows"] { windows[key] = data?["eval"]?[key] }
        for key in ["sequence_length", "bos"] { windows[key] = data?[key] }
        if windows["sha256"]?.string == nil { windows["seed"] = summary["seed"] }
        return JSONValue.object(windows).text(.compact, sortedKeys: true)
    }

    /// A single name for a model that may have been given by several paths.
    private mutating func named(_ model: String) -> String {
        let place = RunConfig.resolved(model) ?? model
        models[place] = models[place] ?? model
        return models[place] ?? model
    }

    private mutating func add(_ run: SweepGrid.Run, _ model: String, _ error: AgreedError) {
        var row = Row(run: run)
        row.model = named(model)
        row.failure = error.description
        firstFailure = firstFailure ?? error
        rows.append(row)
    }

    /// Marks the Pareto front of perplexity against bits per weight, for each model and text, once all runs are added.
    mutating func markFront() {
        let points = rows.indices.compactMap { index in rows[index].point.map { (index: index, point: $0) } }
        // Windows of one text may differ (data.field). Where a summary of an earlier version does not tell them, those of a
        // text are compared.
        let untold = Set(points.filter { rows[$0.index].windows == nil }.map { rows[$0.index].scale })
        func comparable(_ index: Int) -> [String] {
            let scale = rows[index].scale
            return untold.contains(scale) ? scale : scale + [rows[index].windows ?? ""]
        }
        for comparable in Dictionary(grouping: points, by: { comparable($0.index) }).values {
            var last: Row.Point?
            for (index, point) in comparable.sorted(by: { $0.point < $1.point }) {
                // Those before it have no more bits, and the last of them on the front has the least perplexity.
                guard last.map({ point == $0 || point.perplexity < $0.perplexity }) ?? true else { continue }
                rows[index].isOnFront = true
                last = point
            }
        }
    }

    // MARK: - Texts

    /// The table for the user, in the order of the bits.
    var table: String {
        let wide = table(run: .max, result: .max)
        let isNarrow = wide.split(separator: "\n").allSatisfy { $0.count <= Table.width }
        return isNarrow ? wide : table(run: Self.narrowRun, result: Self.narrowResult)
    }

    /// Widths of a run's name and of its result's label that leave room for the numbers on a screen.
    private static let (narrowRun, narrowResult) = (20, 18)

    /// - Parameters:
    ///   - run: characters of a run's name per line; longer names continue on further lines.
    ///   - result: the same for the result's label.
    private func table(run: Int, result: Int) -> String {
        var table = Table(
            columns: ["run", "result", "bits", "per\(Table.softHyphen)plexity", "KL (nats)", "MB", "front"])
        for row in rows.sorted(by: { ($0.bitsPerWeight ?? .infinity) < ($1.bitsPerWeight ?? .infinity) }) {
            let names = Self.lines(row.run.title, run)
            let labels = Self.lines(row.label.isEmpty ? "–" : row.label, result)
            let numbers = [
                row.bitsPerWeight?.formatted(decimals: 2) ?? "–",
                row.perplexity?.formatted(decimals: 2) ?? (row.failure == nil ? "–" : "failed"),
                row.divergence?.formatted(decimals: 4) ?? "–",
                row.bytes.map { (Double($0) / 1e6).formatted(decimals: 1) } ?? "–", row.isOnFront ? "*" : "",
            ]
            for line in 0..<max(names.count, labels.count) {
                let texts = [names, labels].map { line < $0.count ? $0[line] : "" }
                table.add(texts + (line == 0 ? numbers : numbers.map { _ in "" }))
            }
        }
        return table.text
    }

    /// The text broken at spaces, and within words that are longer than a line.
    private static func lines(_ text: String, _ width: Int) -> [String] {
        var lines = [""]
        for word in text.split(separator: " ") {
            var rest = word
            if !lines[lines.count - 1].isEmpty {
                if lines[lines.count - 1].count + 1 + word.count <= width {
                    lines[lines.count - 1] += " \(word)"
                    continue
                }
                lines.append("")
            }
            while rest.count > width {
                lines[lines.count - 1] = String(rest.prefix(width))
                lines.append("")
                rest = rest.dropFirst(width)
            }
            lines[lines.count - 1] = String(rest)
        }
        return lines
    }

    private static let numbers = ["perplexity", "kl_divergence", "bits_per_weight", "bytes", "seconds"]

    var csv: String {
        let head = ["run", "job", "model"] + keys + ["label"] + Self.numbers + ["pareto", "failure", ProgramVersion.key]
        let lines = rows.map { row in
            let varied = keys.map { key in row.run.varied.first { $0.key == key }?.value ?? "" }
            let numbers = [
                row.perplexity?.description, row.divergence?.description, row.bitsPerWeight?.description,
                row.bytes?.description, row.seconds?.description,
            ].map { $0 ?? "" }
            return [row.run.name, row.run.job, row.model] + varied + [row.label] + numbers + [
                "\(row.isOnFront)", row.failure ?? "", ProgramVersion.name,
            ]
        }
        return ([head] + lines).map { $0.map(Self.cell).joined(separator: ",") + "\n" }.joined()
    }

    /// RFC 4180. Bytes count, not characters: one may hold a comma with an accent, or CR and LF.
    private static func cell(_ text: String) -> String {
        let quote = UInt8(ascii: "\"")
        guard text.utf8.contains(where: { ",\"\n\r".utf8.contains($0) }) else { return text }
        return "\"" + String(decoding: text.utf8.flatMap { $0 == quote ? [quote, quote] : [$0] }, as: UTF8.self) + "\""
    }

    var json: JSONValue {
        .array(
            rows.map { row in
                var object = JSONObject()
                object["run"] = .string(row.run.name)
                object["job"] = .string(row.run.job)
                object["model"] = .string(row.model)
                for (key, value) in row.run.varied { object[key] = .string(value) }
                object["label"] = .string(row.label)
                object["perplexity"] = row.perplexity.map { .double($0) }
                object["kl_divergence"] = row.divergence.map { .double($0) }
                object["bits_per_weight"] = row.bitsPerWeight.map { .double($0) }
                object["bytes"] = row.bytes.map { .integer($0) }
                object["seconds"] = row.seconds.map { .double($0) }
                object["pareto"] = .bool(row.isOnFront)
                object["failure"] = row.failure.map { .string($0) }
                return .object(object.stamped)
            })
    }

    /// Writes the three files.
    func write(to folder: String) throws(FileError) {
        try AtomicFile.write(csv, to: "\(folder)/\(SweepFolder.csvName)")
        try AtomicFile.write(json.text() + "\n", to: "\(folder)/\(SweepFolder.jsonName)")
        try AtomicFile.write(SweepChart(rows).svg, to: "\(folder)/\(SweepFolder.chartName)")
    }
}

extension SweepReport.Row {
    struct Point: Comparable {
        let bits: Double, perplexity: Double

        static func < (a: Point, b: Point) -> Bool { (a.bits, a.perplexity) < (b.bits, b.perplexity) }
    }

    /// Rows of one scale can be compared.
    var scale: [String] { [model, evaluation] }

    /// The run's point in the picture; nil where it lacks these numbers.
    var point: Point? {
        guard let bitsPerWeight, let perplexity, perplexity.isFinite, perplexity > 0 else { return nil }
        return Point(bits: bitsPerWeight, perplexity: perplexity)
    }
}
