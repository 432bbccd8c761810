import Testing

@testable import Runs

@Suite struct ReporterTests {
    private final class Screen { var text = "" }

    private func report(isSpeaking: Bool = true, isTerminal: Bool, interval: Duration, _ body: (Reporter) -> Void) -> String {
        let screen = Screen()
        body(Reporter(isSpeaking: isSpeaking, isTerminal: isTerminal, interval: interval) { screen.text += $0 })
        return screen.text
    }

    @Test func `away from a terminal progress is whole lines, the first and the last among them`() {
        let text = report(isTerminal: false, interval: .seconds(3600)) { reporter in
            for step in 1...50 { reporter.progress("step", step, of: 50, "loss \(step)") }
        }
        #expect(text == "step 1/50  loss 1\nstep 50/50  loss 50\n")
    }

    @Test func `a line comes whenever the interval has passed`() {
        let text = report(isTerminal: false, interval: .zero) { reporter in
            for step in 1...5 { reporter.progress("step", step, of: 5) }
        }
        #expect(text == "step 1/5\nstep 2/5\nstep 3/5\nstep 4/5\nstep 5/5\n")
    }

    @Test func `on a terminal a note replaces the bar`() {
        let text = report(isTerminal: true, interval: .zero) { reporter in
            reporter.progress("step", 1, of: 2)
            reporter.note("hello")
            reporter.progress("step", 2, of: 2)
        }
        #expect(text.contains("1/2  \r\u{1B}[Khello\n"))
        #expect(text.hasSuffix("████ 2/2  \n"))
    }

    @Test func `other ranks are silent`() {
        let text = report(isSpeaking: false, isTerminal: false, interval: .zero) { reporter in
            reporter.note("a")
            reporter.progress("step", 1, of: 1)
        }
        #expect(text.isEmpty)
    }
}
