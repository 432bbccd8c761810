package import TensorCore

/// A configuration that cannot be run as given.
package struct ConfigurationError: ReportableError, Equatable {
    /// Where: a file and line, a `--set` argument, or a key.
    package let place: String
    /// What is wrong there, and what to do.
    package let problem: String

    package init(_ place: String, _ problem: String) {
        self.place = place
        self.problem = problem
    }

    package var exitCode: ExitCode { .configuration }
    package var description: String { "\(place): \(problem)".singleLine }
}

extension String {
    /// Control characters replaced and the whole cut at 500 characters: a key from a hostile file neither forges a second line
    /// nor fills the terminal.
    package var singleLine: String {
        var scalars = String.UnicodeScalarView()
        for scalar in unicodeScalars.prefix(500) {
            let isControl =
                scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || scalar == "\u{2028}" || scalar == "\u{2029}"
            scalars.append(isControl ? " " : scalar)
        }
        return unicodeScalars.count > 500 ? String(scalars) + "…" : String(scalars)
    }
}
