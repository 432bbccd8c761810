internal import Collectives
internal import Glibc
internal import HuggingFace
internal import Support

/// The output of a run for the user. Only rank 0 prints.
///
/// On a terminal progress is a bar that is redrawn; elsewhere it is a line from time to time, at the first and the last step
/// and otherwise at least `interval` apart.
package final class Reporter {
    private let isSpeaking: Bool
    private let isTerminal: Bool
    private let interval: Duration
    private let output: (String) -> Void
    /// Receives all progress.
    package var events = RunEvents()
    private var lastLine: ContinuousClock.Instant?
    private let begin = ContinuousClock.now
    private var pace = Pace()
    private var isBarShown = false

    package convenience init(isSpeaking: Bool, isTerminal: Bool = false) {
        self.init(isSpeaking: isSpeaking, isTerminal: isTerminal, interval: .seconds(5), output: Console.printOutput)
    }

    init(isSpeaking: Bool, isTerminal: Bool, interval: Duration, output: @escaping (String) -> Void) {
        self.isSpeaking = isSpeaking
        self.isTerminal = isTerminal
        self.interval = interval
        self.output = output
    }

    /// A reporter with the same output, for a group of ranks.
    package func speaking(_ isSpeaking: Bool) -> Reporter {
        Reporter(isSpeaking: isSpeaking, isTerminal: isTerminal, interval: interval, output: output)
    }

    /// Prints one or several lines.
    package func note(_ text: String) {
        guard isSpeaking else { return }
        clearBar()
        output(text + "\n")
    }

    /// Reports that `done` of `total` parts of a phase, such as steps, are done; `details` are short, such as the loss.
    package func progress(_ phase: String, _ done: Int, of total: Int, _ details: @autoclosure () -> String = "") {
        guard isSpeaking, total > 0 else { return }
        let now = ContinuousClock.now
        let remaining = pace.remaining(phase, done, of: total, at: now)
        let elapsed = (now - begin) / .seconds(1)
        events.publish(
            "phase",
            [
                "name": .string(phase), "done": .integer(done), "of": .integer(total), "elapsed_seconds": .double(elapsed),
                "remaining_seconds": remaining.map { .double($0) } ?? .null,
            ])
        // For very short runs the times mean nothing.
        let times = elapsed < 1 ? "" : elapsed.asClock + (remaining.map { ", \($0.asClock) left" } ?? "")
        func line(_ details: String) -> String { [details, times].filter { !$0.isEmpty }.joined(separator: ", ") }
        if isTerminal {
            output("\r\u{1B}[K\(phase) \(ProgressBar.text(done, of: total)) \(done)/\(total)  \(line(details()))")
            isBarShown = true
            if done >= total { output("\n"); isBarShown = false }
            return
        }
        let isDue = lastLine.map { now - $0 >= interval } ?? true
        guard isDue || done <= 1 || done >= total else { return }
        lastLine = now
        let details = line(details())
        output("\(phase) \(done)/\(total)" + (details.isEmpty ? "" : "  \(details)") + "\n")
    }

    private func clearBar() {
        if isBarShown { output("\r\u{1B}[K") }
        isBarShown = false
    }
}

/// The speed of a phase, from which the remaining time is estimated.
private struct Pace {
    private var phase = ""
    private var first = (done: 0, at: ContinuousClock.now)

    /// Remaining seconds; nil at the first call of a phase, and at its end.
    mutating func remaining(_ phase: String, _ done: Int, of total: Int, at now: ContinuousClock.Instant) -> Double? {
        guard phase == self.phase, done > first.done else {
            self.phase = phase
            first = (done, now)
            return nil
        }
        let seconds = (now - first.at) / .seconds(1)
        return done < total ? seconds / Double(done - first.done) * Double(total - done) : nil
    }
}

/// A bar such as ███████░░░░░.
enum ProgressBar {
    /// Leaves room for the loss and the times on a screen of 80 columns.
    private static let width = 12

    static func text(_ done: Int, of total: Int) -> String {
        let share = Double(done) / Double(max(1, total))
        let filled = Int(Double(width) * max(0, min(1, share)))
        return String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
    }
}
