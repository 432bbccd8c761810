/// What rendering may take, so that no template, however it is made, runs for long or fills the memory. A template of a model
/// takes some thousand steps.
struct TemplateBudget {
    private var steps: Int
    private var bytes: Int
    private let limits: (steps: Int, bytes: Int)
    /// Expressions, statements and macros within each other.
    private var depth = 0
    private static let depthLimit = 400

    init(steps: Int = 2_000_000, bytes: Int = 128 << 20) {
        (self.steps, self.bytes, limits) = (steps, bytes, (steps, bytes))
    }

    mutating func enter(_ line: Int) throws(TemplateFault) {
        depth += 1
        guard depth <= Self.depthLimit else {
            throw TemplateFault(line, "more than \(Self.depthLimit) levels of calls are open")
        }
        try spend(1, line)
    }

    mutating func leave() { depth -= 1 }

    /// Counts items of lists that are iterated over or made.
    mutating func spend(_ count: Int, _ line: Int) throws(TemplateFault) {
        guard count <= steps else { throw TemplateFault(line, "the template takes more than \(limits.steps) steps") }
        steps -= count
    }

    /// For bytes of text that are read or made.
    mutating func spend(bytes count: Int, _ line: Int) throws(TemplateFault) {
        guard count <= bytes else { throw TemplateFault(line, "the template handles more than \(limits.bytes) bytes of text") }
        bytes -= count
    }
}
