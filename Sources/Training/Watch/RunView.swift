internal import HuggingFace

/// The newest that is known of a run, as lines of text.
struct RunView {
    private var values: [String: JSONObject] = [:]
    /// In the order of their first event.
    private var layers: [String] = []

    private static let layerPrefix = "layer/"

    mutating func take(_ key: String, _ value: JSONValue) {
        guard let object = value.object else { return }
        if key.hasPrefix(Self.layerPrefix), values[key] == nil { layers.append(key) }
        // Keys are few; a stranger's must not fill the memory.
        guard values[key] != nil || values.count < 100_000 else { return }
        values[key] = object
    }

    var hasEnded: Bool { values["end"] != nil }

    /// At most this many lines, none longer than `width`.
    func lines(width: Int, height: Int) -> [String] {
        guard !values.isEmpty else { return ["connected; the run answers at its next step"] }
        var lines = [title] + [phase, metrics, bus].compactMap(\.self)
        let room = height - lines.count - 2
        if !layers.isEmpty, room > 1 {
            var table = Table(columns: ["layer", "rank", "branch"])
            for key in layers.prefix(room - 2) {
                table.add([
                    String(key.dropFirst(Self.layerPrefix.count)).singleLine, text(key, "rank") ?? "–", text(key, "branch") ?? "–",
                ])
            }
            lines += [""] + table.text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        }
        if let end { lines.append(end) }
        return lines.map { String($0.prefix(width)) }
    }

    private var title: String {
        "\(text("run", "job") ?? "run") of \(text("run", "model") ?? "?") on \(text("run", "world_size") ?? "?") ranks, "
            + "results in \(text("run", "folder") ?? "?")"
    }

    private var phase: String? {
        guard let name = text("phase", "name") else { return nil }
        guard let done = values["phase"]?["done"]?.integer, let total = values["phase"]?["of"]?.integer, total > 0 else { return name }
        return "\(name) \(ProgressBar.text(done, of: total)) \(done)/\(total)"
    }

    private var metrics: String? {
        guard let step = values["step"] else { return nil }
        return step.members.compactMap { key, value in number(value).map { "\(key) \($0)".singleLine } }.joined(separator: "  ")
    }

    private var bus: String? {
        guard let bytes = values["bus"]?["bytes_per_step"]?.integer, let total = values["bus"]?["bytes"]?.integer else { return nil }
        return "bus: \(bytes) bytes in the last step, \(total) in all, \(text("bus", "replays") ?? "0") transitions sent again"
    }

    private var end: String? {
        guard hasEnded else { return nil }
        return text("end", "error").map { "ended: \($0)" } ?? "ended"
    }

    private func text(_ key: String, _ member: String) -> String? {
        switch values[key]?[member] {
        case .string(let text): text.singleLine
        case .some(let value): number(value)
        case nil: nil
        }
    }

    /// Four digits or so.
    private func number(_ value: JSONValue) -> String? {
        switch value {
        case .integer(let number): String(number)
        case .double(let number) where abs(number) >= 1000: number.formatted(decimals: 0)
        case .double(let number) where abs(number) >= 0.01 || number == 0: number.formatted(decimals: 4)
        case .double(let number): "\(number)"
        default: nil
        }
    }
}
