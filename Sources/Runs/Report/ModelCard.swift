package import Configuration
internal import HuggingFace
package import Models
package import Support

/// The description of a model's origin beside its weights, for people (`README.md`) and programs (`provenance.json`).
package struct ModelCard: Sendable {
    /// A command that repeats the run.
    private let command: String
    private let job: String
    private let seed: Int
    private let source: String
    private let sourceDigest: String
    /// Rows of the run's final table.
    private let rows: [JSONValue]
    private let windows: String
    private let beginOfSequence: String
    /// Whether transformers loads the folder.
    private let isShared: Bool
    /// A command that reproduces the last row's perplexity; nil where the folder and a text are not enough for that.
    private let check: String?
    /// Whether the folder itself describes how it runs.
    private let isPacked: Bool
    /// Whether packed weights have zero points.
    private let isAsymmetric: Bool
    /// Whether this is `dense/`: the weights of `model/` as floats, without rounding of inputs.
    private let isCopy: Bool
    /// The export format in which other programs could run it, where they cannot load the folder itself.
    private let sharedFormat: ExportFormat?
    /// Why the command alone does not repeat the run; see ``CheckpointManifest/earlier``.
    private let earlier: [String]

    /// - Parameters:
    ///   - source: the folder that the model was made from; `sourceDigest`: of its checkpoint.
    ///   - results: the run's summary, with `rows`.
    ///   - windows: number of scored windows, tokens of each, and the text they are from.
    ///   - isShared: whether transformers loads the folder.
    ///   - isPacked: whether the folder itself describes how it runs.
    ///   - sharedFormat: the export format in which other programs could run it, where they cannot load the folder itself.
    ///   - isCopy: whether the folder holds the weights of a packed one as floats.
    ///   - ranks: number of ranks that made it.
    ///   - earlier: what steps of earlier attempts were taken with otherwise.
    package init(
        job: String, _ config: RunConfig, source: String, sourceDigest: String, _ results: JSONObject, windows: String,
        isShared: Bool, sharedFormat: ExportFormat? = nil, isPacked: Bool, isCopy: Bool = false, ranks: Int = 1,
        earlier: [String] = []
    ) {
        self.earlier = earlier
        (self.job, self.source, self.sourceDigest, self.windows) = (job, source, sourceDigest, windows)
        (self.isShared, self.isPacked, self.isCopy, seed) = (isShared, isPacked, isCopy, config.training.seed)
        self.sharedFormat = sharedFormat
        beginOfSequence = config.data.bos.settingText
        rows = results["rows"]?.array ?? []
        let settings = config.assignments(job: job).map { "--set \($0.shellWord)" }
        let launcher = ranks > 1 ? "mpirun -n \(ranks) " : ""
        command = (["\(launcher)sq-train \(job) \(source.shellWord)"] + settings).joined(separator: " ")
        let weights = config.quantization.weights
        isAsymmetric = isPacked && weights.bits < 16 && !weights.symmetric
        let isRepeatable = isPacked && config.data.eval.path != nil
        check =
            isRepeatable
            ? (["sq-train eval FOLDER --set data.eval.path=TEXT"] + Self.reading(config)).joined(separator: " ") : nil
    }

    /// The settings of how windows are taken from a text.
    private static func reading(_ config: RunConfig) -> [String] {
        let keys = ["data.eval.windows", "data.sequence_length", "data.bos", "data.field", "data.bad_lines"]
        return config.descriptions.filter { key in
            keys.contains(key.path) && (key.value != key.defaultValue || key.path == "data.sequence_length")
        }.map { "--set \("\($0.path)=\($0.value)".shellWord)" }
    }

    package var json: JSONValue {
        var result = JSONObject()
        result[ProgramVersion.key] = .string(ProgramVersion.name)
        result["job"] = .string(job)
        result["command"] = .string(command)
        if !earlier.isEmpty { result["earlier_steps"] = .array(earlier.map { .string($0) }) }
        result["seed"] = .integer(seed)
        result["source"] = .string(source)
        result["source_sha256"] = .string(sourceDigest)
        result["expected"] = expected
        result["rows"] = .array(rows)
        return .object(result)
    }

    /// Whether the last row's network rounds activations or cache.
    private var roundsInputs: Bool {
        let bits = rows.last?["bits"]
        return ["activations", "keys", "values"].contains { (bits?[$0]?.integer ?? 16) < 16 }
    }

    /// Whether the last row's inputs or cache were rounded and the folder's are not, since a folder of floats cannot describe
    /// that.
    private var dropsRounding: Bool { (isCopy || !isPacked) && roundsInputs }

    /// The expected scores of the model: the last row's numbers, except for floats that do not run as that row did.
    private var expected: JSONValue? {
        guard !dropsRounding, let row = rows.last?.object, let perplexity = row["perplexity"] else { return nil }
        var result = JSONObject()
        result["perplexity"] = perplexity
        result["bits"] = row["bits"]
        result["bits_per_weight"] = row["bits_per_weight"]
        result["windows"] = .string(windows)
        result["bos"] = .string(beginOfSequence)
        return .object(result)
    }

    private var earlierNote: String {
        earlier.isEmpty
            ? "" : "which alone does not repeat it, since \(earlier.joined(separator: ", ")),\n"
    }

    /// The card, in the form of the Hugging Face hub.
    package var text: String {
        """
        ---
        tags:
        - sq-train
        - \(job)
        \(isShared ? "library_name: transformers\n" : "")---

        # \(source.split(separator: "/").last.map(String.init) ?? source), by sq-train \(job)

        Made by \(ProgramVersion.name) with

            \(command)

        \(earlierNote)from a checkpoint with SHA-256 `\(sourceDigest)`. Paths are those of the machine that it was made on,
        relative ones from where the command was run.

        | | bits per weight | bits of inputs, keys, values | perplexity | KL to full precision (nats) |
        |---|---|---|---|---|
        \(rows.compactMap(Self.line).joined(separator: "\n"))

        Perplexity on \(windows), beginning-of-sequence token: \(beginOfSequence).\
        \(check.map { " Check it with\n\n    \($0)" } ?? "")

        \(copyNote)\
        \(loadingNote)

        """
    }

    private var loadingNote: String {
        guard isShared else {
            guard let sharedFormat else { return "Programs other than sq-train cannot load this format\(floatsNote)." }
            return "Programs other than sq-train cannot load this format. Those that read compressed-tensors load what\n\n"
                + "    sq-train export FOLDER --format \(sharedFormat.rawValue) --out OTHER\n\nwrites, "
                + "and it says which of them run it."
        }
        guard isAsymmetric else { return "transformers loads the folder as it is." }
        return
            "The folder has the published layout of compressed-tensors. transformers 5 with compressed-tensors 0.20 refuses it "
            + "for its zero points, and loads what\n\n"
            + "    sq-train export FOLDER --format compressed-tensors-padded --out OTHER\n\nwrites."
    }

    /// A paragraph for `dense/`, and for a `model/` of floats whose rows rounded more than weights.
    private var copyNote: String {
        if isCopy {
            let rounding = roundsInputs ? ": inputs and cache, rounded there, are not rounded here" : ""
            return "The weights of `model/` as floats\(rounding).\n\n"
        }
        return dropsRounding
            ? "The folder holds floats: inputs and cache, rounded in the last row, are not rounded here, and the perplexity is "
                + "another one.\n\n" : ""
    }

    /// A note that floats would be another network where inputs are rounded.
    private var floatsNote: String {
        roundsInputs ? "" : "; `sq-train export FOLDER --format huggingface --out OTHER` writes floats"
    }

    private static func line(_ row: JSONValue) -> String? {
        guard let row = row.object, let label = row["label"]?.string, let perplexity = row["perplexity"]?.number else {
            return nil
        }
        let bits = row["bits"]?.object
        let inputs = ["activations", "keys", "values"].map { bits?[$0]?.integer.map(String.init) ?? "–" }.joined(
            separator: ", ")
        let weight = row["bits_per_weight"]?.number.map { $0.formatted(decimals: 2) }
        let divergence = row["kl_divergence"]?.number.map { $0.formatted(decimals: 4) }
        return "| \(label) | \(weight ?? "–") | \(inputs) | \(perplexity.formatted(decimals: 2)) | \(divergence ?? "–") |"
    }

    /// Writes both files into the model's folder.
    package func write(to folder: String) throws(FileError) {
        try AtomicFile.write(text, to: folder + "/README.md")
        try AtomicFile.write(json.text() + "\n", to: "\(folder)/\(HFFolderWriter.provenance)")
    }
}
