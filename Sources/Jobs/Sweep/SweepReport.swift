internal import Collectives
internal import Configuration
internal import Runs
internal import Support

/// The results of a sweep: `sweep.csv`, `sweep.json`, and the picture.
///
/// A run's numbers are those of the last row of its table: what the job made.
struct SweepReport {
    struct Row {
        let run: SweepGrid.Run
        var model = ""
        var label = ""
        var perplexity: Double?
        var divergence: Double?
        var bitsPerWeight: Double?
        var bytes: Int?
        var seconds: Double?
        /// Why there are no numbers.
        var failure: String?
        /// Whether no run of the same model is as good with fewer bits, or better with as many.
        var isOnFront = false
    }

    private(set) var rows: [Row] = []
    /// Of the first run that failed.
    private(set) var firstFailure: AgreedError?
    /// Keys that a grid varies, in the order of their first run.
    private let keys: [String]

    init(_ grid: SweepGrid) {
        keys = grid.runs.flatMap { $0.varied.map(\.key) }.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    /// The runs that have ended so far, in the order of the grid.
    ///
    /// - Parameter folder: the sweep's, with a folder of each run.
    init(_ grid: SweepGrid, _ ledger: SweepLedger, in folder: String) throws(FileError) {
        self.init(grid)
        for (index, run) in grid.runs.enumerated() {
            switch try ledger.outcome(of: index) {
            case .unfinished: break
            case .finished: try add(run, summary: "\(folder)/\(run.name)/\(RunFiles.summary)")
            case .failed(let error): add(run, error)
            }
        }
    }

    mutating func add(_ run: SweepGrid.Run, summary path: String) throws(FileError) {
        let summary = try InputFile.json(path)
        var row = Row(run: run)
        row.model = summary["model"]?.string ?? ""
        if let last = summary["rows"]?.array?.last {
            row.label = last["label"]?.string ?? ""
            row.perplexity = last["perplexity"]?.number
            row.divergence = last["kl_divergence"]?.number
            row.bitsPerWeight = last["bits_per_weight"]?.number
            row.bytes = last["bytes"]?.integer
        }
        row.seconds = summary["seconds"]?.number
        rows.append(row)
        markFront()
    }

    private mutating func add(_ run: SweepGrid.Run, _ error: AgreedError) {
        var row = Row(run: run)
        row.failure = error.description
        firstFailure = firstFailure ?? error
        rows.append(row)
    }

    /// The Pareto front of perplexity against bits a weight, for each model.
    private mutating func markFront() {
        for index in rows.indices {
            guard let own = rows[index].point else { continue }
            rows[index].isOnFront = !rows.contains { other in
                guard other.model == rows[index].model, let point = other.point else { return false }
                return point.bits <= own.bits && point.perplexity <= own.perplexity && point != own
            }
        }
    }

    // MARK: - Texts

    /// For people, in the order of the bits.
    var table: String {
        var table = Table(columns: ["run", "bits", "perplexity", "KL (nats)", "MB", "front"])
        for row in rows.sorted(by: { ($0.bitsPerWeight ?? .infinity) < ($1.bitsPerWeight ?? .infinity) }) {
            table.add([
                ([row.run.job] + row.run.varied.map(\.value)).joined(separator: " "),
                row.bitsPerWeight?.formatted(decimals: 2) ?? "–",
                row.perplexity?.formatted(decimals: 2) ?? (row.failure == nil ? "–" : "failed"),
                row.divergence?.formatted(decimals: 4) ?? "–",
                row.bytes.map { (Double($0) / 1e6).formatted(decimals: 1) } ?? "–", row.isOnFront ? "*" : "",
            ])
        }
        return table.text
    }

    private static let numbers = ["perplexity", "kl_divergence", "bits_per_weight", "bytes", "seconds"]

    var csv: String {
        let head = ["run", "job", "model"] + keys + Self.numbers + ["pareto", "failure", ProgramVersion.key]
        let lines = rows.map { row in
            let varied = keys.map { key in row.run.varied.first { $0.key == key }?.value ?? "" }
            let numbers = [
                row.perplexity?.description, row.divergence?.description, row.bitsPerWeight?.description,
                row.bytes?.description, row.seconds?.description,
            ].map { $0 ?? "" }
            return [row.run.name, row.run.job, row.model] + varied + numbers + [
                "\(row.isOnFront)", row.failure ?? "", ProgramVersion.name,
            ]
        }
        return ([head] + lines).map { $0.map(Self.cell).joined(separator: ",") + "\n" }.joined()
    }

    /// RFC 4180.
    private static func cell(_ text: String) -> String {
        text.contains { ",\"\n\r".contains($0) } ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
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
        try AtomicFile.write(csv, to: "\(folder)/sweep.csv")
        try AtomicFile.write(json.text() + "\n", to: "\(folder)/sweep.json")
        try AtomicFile.write(SweepChart(rows).svg, to: "\(folder)/sweep.svg")
    }
}

extension SweepReport.Row {
    struct Point: Equatable {
        let bits: Double, perplexity: Double
    }

    /// Where the run lies in the picture; nil where it has no such numbers.
    var point: Point? {
        guard let bitsPerWeight, let perplexity, perplexity.isFinite, perplexity > 0 else { return nil }
        return Point(bits: bitsPerWeight, perplexity: perplexity)
    }
}
