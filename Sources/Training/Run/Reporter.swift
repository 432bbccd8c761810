internal import Collectives
internal import Glibc
internal import HuggingFace

/// What the user sees of a run. Rank 0 speaks, the others are silent.
///
/// On a terminal progress is a bar that is drawn over; elsewhere it is a line now and then, at
/// the first and the last step and at least `interval` apart.
package final class Reporter {
    private let isSpeaking: Bool
    private let isTerminal: Bool
    private let interval: Duration
    private let output: (String) -> Void
    /// Told of every progress.
    package var events = RunEvents()
    private var lastLine: ContinuousClock.Instant?
    private var isBarShown = false

    package convenience init(isSpeaking: Bool, isTerminal: Bool = false) {
        self.init(isSpeaking: isSpeaking, isTerminal: isTerminal, interval: .seconds(5), output: Console.say)
    }

    init(isSpeaking: Bool, isTerminal: Bool, interval: Duration, output: @escaping (String) -> Void) {
        self.isSpeaking = isSpeaking
        self.isTerminal = isTerminal
        self.interval = interval
        self.output = output
    }

    /// A line, or several.
    package func note(_ text: String) {
        guard isSpeaking else { return }
        clearBar()
        output(text + "\n")
    }

    /// `done` of `total` parts of a phase, such as steps; `details` are short, such as the loss.
    package func progress(_ phase: String, _ done: Int, of total: Int, _ details: @autoclosure () -> String = "") {
        guard isSpeaking, total > 0 else { return }
        events.publish("phase", ["name": .string(phase), "done": .integer(done), "of": .integer(total)])
        if isTerminal {
            output("\r\u{1B}[K\(phase) \(ProgressBar.text(done, of: total)) \(done)/\(total)  \(details())")
            isBarShown = true
            if done >= total { output("\n"); isBarShown = false }
            return
        }
        let now = ContinuousClock.now
        let isDue = lastLine.map { now - $0 >= interval } ?? true
        guard isDue || done <= 1 || done >= total else { return }
        lastLine = now
        let details = details()
        output("\(phase) \(done)/\(total)" + (details.isEmpty ? "" : "  \(details)") + "\n")
    }

    private func clearBar() {
        if isBarShown { output("\r\u{1B}[K") }
        isBarShown = false
    }
}

/// Such as ███████░░░░░.
enum ProgressBar {
    private static let width = 24

    static func text(_ done: Int, of total: Int) -> String {
        let share = Double(done) / Double(max(1, total))
        let filled = Int(Double(width) * max(0, min(1, share)))
        return String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
    }
}
