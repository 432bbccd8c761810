internal import Support

/// The latest state of a run, as lines of text.
struct RunView {
    private var values: [String: JSONObject] = [:]
    /// Layers in the order of their first event.
    private var layers: [String] = []

    private static let layerPrefix = "layer/"

    mutating func take(_ key: String, _ value: JSONValue) {
        guard let object = value.object else { return }
        if key.hasPrefix(Self.layerPrefix), values[key] == nil { layers.append(key) }
        values[key] = object
    }

    var hasEnded: Bool { values["end"] != nil }

    /// At most this many lines, none longer than `width`.
    func lines(width: Int, height: Int) -> [String] {
        guard !values.isEmpty else {
            return Array("connected; the run answers at its next step".wrapped(width: width, indent: 2).prefix(height))
        }
        var lines = title.wrapped(width: width, indent: 2) + phase + Self.joined(metrics, width: width)
        lines += bus.map { $0.wrapped(width: width, indent: 2) } ?? []
        let tail = end?.wrapped(width: width, indent: 2) ?? []
        let room = height - lines.count - tail.count - 1
        if !layers.isEmpty, room > 4 { lines += layerLines(room: room) }
        return (lines.prefix(max(1, height - 1 - tail.count)) + tail).map { String($0.prefix(width)) }
    }

    /// A table of as many layers as fit.
    private func layerLines(room: Int) -> [String] {
        let hasBranches = layers.contains { values[$0]?["branch"] != nil }
        var table = Table(columns: ["layer", "components"] + (hasBranches ? ["last update"] : []))
        let shown = layers.count <= room - 4 ? layers.count : max(1, room - 5)
        for key in layers.prefix(shown) {
            let name = String(key.dropFirst(Self.layerPrefix.count)).singleLine
            table.add([name, text(key, "components") ?? "–"] + (hasBranches ? [text(key, "branch") ?? "–"] : []))
        }
        var lines = [""] + table.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if shown < layers.count { lines.append("and \(layers.count - shown) more layers") }
        if hasBranches { lines.append("refresh: new scales; prune: weak components replaced; full: decomposed again") }
        return lines
    }

    private var title: String {
        "\(text("run", "job") ?? "run") of \(text("run", "model") ?? "?") on \(text("run", "world_size") ?? "?") ranks, "
            + "results in \(text("run", "folder") ?? "?")"
    }

    private var phase: [String] {
        guard let name = text("phase", "name") else { return [] }
        guard let done = values["phase"]?["done"]?.integer, let total = values["phase"]?["of"]?.integer, total > 0 else {
            return [name]
        }
        func clock(_ key: String, _ word: String) -> String? {
            values["phase"]?[key]?.number.map { ", \($0.asClock) \(word)" }
        }
        let times = (clock("elapsed_seconds", "so far") ?? "") + (clock("remaining_seconds", "left") ?? "")
        return ["\(name) \(ProgressBar.text(done, of: total)) \(done)/\(total)\(times)"]
    }

    /// Keys of `metrics.jsonl` that are shown, with their text; `%` stands for the number. Steps are shown with the phase,
    /// bytes with the bus.
    private static let names = [
        "loss": "loss %", "lr": "learning rate %", "grad_norm": "gradient norm %", "tokens_per_second": "% tokens/s",
        "communication_seconds": "% s of waiting for ranks", "transition_seconds": "% s of ternary updates",
        "orthogonality_error": "orthogonality error %", "step": "", "bus_bytes": "",
        "bubble_fraction": "% of waiting for stages",
    ]

    private var metrics: [String] {
        guard let step = values["step"] else { return [] }
        return step.members.compactMap { key, value in
            guard let number = number(value), Self.names[key] != "" else { return nil }
            let form = Self.names[key] ?? key.replacing("_", with: " ") + " %"
            return form.replacing("%", with: number).singleLine
        }
    }

    /// The texts joined into a line, as many as fit.
    private static func joined(_ texts: [String], width: Int) -> [String] {
        var lines: [String] = []
        for text in texts {
            if let last = lines.last, last.count + 3 + text.count <= width {
                lines[lines.count - 1] = last + "   " + text
            } else {
                lines.append(text)
            }
        }
        return lines
    }

    private var bus: String? {
        guard let bytes = values["bus"]?["bytes_per_step"]?.integer, let total = values["bus"]?["bytes"]?.integer else {
            return nil
        }
        let again = text("bus", "replays") ?? "0"
        return "ternary updates between ranks: \(bytes) bytes in the last step, \(total) in all"
            + (again == "0" ? "" : ", \(again) transitions sent again")
    }

    private var end: String? {
        guard hasEnded else { return nil }
        return text("end", "error").map { "ended: \($0)" } ?? "ended; results in \(text("run", "folder") ?? "its folder")"
    }

    private func text(_ key: String, _ member: String) -> String? {
        switch values[key]?[member] {
        case .string(let text): text.singleLine
        case .some(let value): number(value)
        case nil: nil
        }
    }

    private func number(_ value: JSONValue) -> String? {
        switch value {
        case .integer(let number): String(number)
        case .double(let number): number.short
        default: nil
        }
    }
}
