/// An expression of a template.
struct TemplateExpression {
    let kind: Kind
    let line: Int
    /// The expressions in it.
    let parts: [TemplateExpression]
    /// Levels of expressions in it, so that none is deeper than the stack holds.
    let depth: Int

    indirect enum Kind {
        case constant(TemplateValue)
        case name(String)
        case list([TemplateExpression])
        case tuple([TemplateExpression])
        case mapping([(key: TemplateExpression, value: TemplateExpression)])
        case attribute(TemplateExpression, String)
        case element(TemplateExpression, TemplateExpression)
        case slice(TemplateExpression, [TemplateExpression?])
        case call(TemplateExpression, TemplateArguments)
        case filter(TemplateExpression, String, TemplateArguments)
        case test(TemplateExpression, String, TemplateArguments)
        case not(TemplateExpression)
        case sign(String, TemplateExpression)
        case both(TemplateExpression, TemplateExpression)
        case either(TemplateExpression, TemplateExpression)
        case comparison(TemplateExpression, [(symbol: String, other: TemplateExpression)])
        case arithmetic(String, TemplateExpression, TemplateExpression)
        case joined([TemplateExpression])
        case conditional(TemplateExpression, then: TemplateExpression, otherwise: TemplateExpression?)
    }

    static let depthLimit = 150

    /// - Parameter parts: all expressions in it.
    /// - Throws: ``TemplateFault`` where they are nested too deeply.
    init(_ kind: Kind, _ line: Int, _ parts: [TemplateExpression] = []) throws(TemplateFault) {
        (self.kind, self.line, self.parts) = (kind, line, parts)
        depth = 1 + (parts.lazy.map(\.depth).max() ?? 0)
        guard depth <= Self.depthLimit else {
            throw TemplateFault(line, "the expression has more than \(Self.depthLimit) levels")
        }
    }
}

/// What is given to a function, a filter or a test.
struct TemplateArguments {
    var unnamed: [TemplateExpression] = []
    var named: [(name: String, value: TemplateExpression)] = []

    var all: [TemplateExpression] { unnamed + named.map(\.value) }
}

/// What a value is given to: a name, several of them, or a member of a namespace.
enum TemplateTarget {
    case name(String)
    case names([String])
    case member(namespace: String, name: String)
}

/// A statement of a template, or the text between two of them.
struct TemplateStatement {
    let kind: Kind
    let line: Int

    indirect enum Kind {
        case text([UInt8])
        case output(TemplateExpression)
        case conditional([(test: TemplateExpression, body: [TemplateStatement])], otherwise: [TemplateStatement])
        case loop(TemplateLoopSyntax)
        case set(TemplateTarget, TemplateExpression)
        case capture(TemplateTarget, TemplateBody)
        case macro(TemplateMacro)
        /// Variables set in it do not exist after it.
        case block(TemplateBody)
        case leaveLoop
        case nextTurn
    }
}

/// Statements with names of their own.
struct TemplateBody {
    let statements: [TemplateStatement]
    /// Names that are undefined when it begins; see ``TemplateNames``.
    var hidden: [String] = []
}

/// `for`.
struct TemplateLoopSyntax {
    let target: TemplateTarget
    let items: TemplateExpression
    /// Which of the items count; nil for all.
    let test: TemplateExpression?
    let body: TemplateBody
    /// Done where there is no item.
    let otherwise: TemplateBody
}

/// `macro`.
final class TemplateMacro {
    let name: String
    let parameters: [(name: String, value: TemplateExpression?)]
    let body: TemplateBody

    init(_ name: String, _ parameters: [(name: String, value: TemplateExpression?)], _ body: TemplateBody) {
        (self.name, self.parameters, self.body) = (name, parameters, body)
    }
}
