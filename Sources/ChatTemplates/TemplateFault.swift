package import Support

/// What is wrong with a template, and in which line of it.
struct TemplateFault: Error {
    let line: Int
    let problem: String

    init(_ line: Int, _ problem: String) { (self.line, self.problem) = (line, problem) }
}

/// A chat template that cannot be rendered: what it has is no Jinja, is not known here, or is an error that it raises itself.
package struct TemplateError: ReportableError, Equatable {
    /// The template's file, and the key in it.
    package let place: String
    package let line: Int
    package let problem: String

    init(_ place: String, _ fault: TemplateFault) {
        (self.place, line, problem) = (place, fault.line, fault.problem)
    }

    package var exitCode: ExitCode { .data }

    package var description: String { "\(place), line \(line): \(problem)".onOneLine }
}
