internal import Configuration
internal import EmbeddedModel
internal import Support

/// The command that starts a run as planned, to be pasted into a shell.
struct PlannedCommand {
    /// The words of the command, without line breaks.
    let words: [String]
    private let layout: [String]

    init(_ run: PlannedRun, _ workload: Workload, _ config: RunConfig, model: String) {
        let (cluster, job) = (run.cluster, workload.job.rawValue)
        let threads = "OPENBLAS_NUM_THREADS=\(cluster.threadsPerRank)"
        var words: [String]
        if cluster.nodes == 1 {
            words =
                cluster.ranks == 1 ? [threads, "sq-train \(job)"] : [threads, "sq-train launch", "-n \(cluster.ranks)", job]
        } else {
            // Open MPI refuses more ranks than cores unless it is told.
            let shared = cluster.ranksPerNode > cluster.coresPerNode ? ":OVERSUBSCRIBE" : ""
            words = [
                "mpirun", "-n \(cluster.ranks)", "--map-by ppr:\(cluster.ranksPerNode):node\(shared)", "--bind-to none",
                "-x \(threads)", "sq-train \(job)",
            ]
        }
        // Settings that differ from the job's defaults; the batch size may differ from the one that is set.
        let told = Set(config.assignments(job: job).map { $0.prefix { $0 != "=" } })
        var settings = config.descriptions.compactMap { key -> (String, String)? in
            let isPlans =
                key.path == "out" || key.path == "model.path" || key.path.hasPrefix("plan.") || Self.chosen.contains(key.path)
            let value = key.path == "training.batch_size" && workload.learns ? "\(run.sequences)" : key.value
            let isKnown = !told.contains(key.path[...]) && [key.value, key.defaultValue].contains(value)
            return isPlans || isKnown ? nil : (key.path, value)
        }
        let path = Self.path(of: model) ?? Self.unknownPath
        if path != EmbeddedModel.path { settings.insert(("model.path", path), at: 0) }
        words += settings.map { "--set \("\($0)=\($1)".shellWord)" }
        let chosen = run.planned.layout
        // A job without steps takes one window after the other, and steps without the network have none to cut.
        let values = [chosen.data, chosen.pipeline] + (workload.cutsSteps ? [chosen.microbatches] : [])
        layout = zip(Self.chosen, values).map { "--set \($0)=\($1)" }
        self.words = words + layout
    }

    /// Stands for the model's folder where that is not known.
    static let unknownPath = "FOLDER"

    /// What a run reads of the model that was planned: the folder of a config.json; nil of a JSON file of another name, which
    /// is no model's.
    static func path(of model: String) -> String? {
        guard model.hasSuffix(".json") else { return model }
        guard model.split(separator: "/").last == "config.json" else { return nil }
        let folder = model.dropLast("config.json".count)
        return folder.isEmpty ? "." : folder.count > 1 ? String(folder.dropLast()) : "/"
    }

    /// What a plan chooses.
    private static let chosen = ["parallel.data", "parallel.pipeline", "parallel.microbatches"]

    /// The command broken after words into lines of at most 80 characters where the words allow it, with the layout together on
    /// the last line.
    var lines: [String] {
        var lines: [String] = []
        var line = ""
        for word in words.dropLast(layout.count) {
            if !line.isEmpty, line.count + 1 + word.count + 2 > 80 {
                lines.append(line + " \\")
                line = "  " + word
            } else {
                line += (line.isEmpty ? "" : " ") + word
            }
        }
        return lines + [line + " \\", layout.joined(separator: " ")]
    }
}
