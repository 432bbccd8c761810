package import Support

/// What is wrong with a template, and in which line of it.
struct TemplateFault: Error {
    let line: Int
    let problem: String
    /// Whether the template itself raises it, for a conversation that it does not support.
    let isRefusal: Bool

    init(_ line: Int, _ problem: String, isRefusal: Bool = false) {
        (self.line, self.problem, self.isRefusal) = (line, problem, isRefusal)
    }
}

/// A chat template that cannot be rendered: what it has is not Jinja, is not supported, or is an error that it raises itself.
package struct TemplateError: ReportableError, Equatable {
    /// The template's file, and the key in it.
    package let place: String
    package let line: Int
    package let problem: String
    private let isRefusal: Bool

    init(_ place: String, _ fault: TemplateFault) {
        (self.place, line, problem, isRefusal) = (place, fault.line, fault.problem, fault.isRefusal)
    }

    package var exitCode: ExitCode { .data }

    package var description: String {
        let advice = isRefusal ? "" : "; leave --chat out, and give the text that transformers' apply_chat_template makes"
        return "\(place), line \(line): \(problem.singleLine(limit: 400))\(advice)".singleLine
    }
}
