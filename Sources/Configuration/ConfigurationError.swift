package import Support

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
