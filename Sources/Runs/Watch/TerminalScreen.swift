internal import Glibc

/// Lines of a terminal that are redrawn in place.
final class TerminalScreen {
    private let output: (String) -> Void
    private var shown: [String] = []

    init(_ output: @escaping (String) -> Void) { self.output = output }

    func draw(_ view: RunView) {
        let (width, height) = Self.size
        let lines = view.lines(width: width, height: height)
        guard lines != shown else { return }
        // Moves up to the first line, then clears everything below.
        let up = shown.isEmpty ? "" : "\u{1B}[\(shown.count)A"
        output("\r\(up)\u{1B}[J" + lines.map { $0 + "\n" }.joined())
        shown = lines
    }

    private static var size: (width: Int, height: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
        return (Int(size.ws_col), Int(size.ws_row))
    }
}
