/// Reads the statements of a template; see ``TemplateParser/expression()`` for expressions.
///
/// The grammar is Jinja 3.1's. What of it is not known here is refused with its line.
struct TemplateParser {
    private let tokens: [TemplateToken]
    private var position = 0
    /// Levels of statements and brackets that are open.
    private var level = 0
    /// Loops that the statement stands in.
    private var loops = 0
    private static let levelLimit = 100
    private var names: Set<String> = []
    /// More than any model's template has; what is found out of names takes time that grows with their number.
    private static let nameLimit = 500

    /// - Throws: ``TemplateFault``.
    static func body(of template: String) throws(TemplateFault) -> TemplateBody {
        var parser = TemplateParser(tokens: try TemplateLexer.tokens(of: template))
        return TemplateNames.body(try parser.body(until: []))
    }

    private init(tokens: [TemplateToken]) { self.tokens = tokens }

    // MARK: Tokens

    var token: TemplateToken { tokens[min(position, tokens.count - 1)] }
    var line: Int { token.line }

    func isNext(_ symbol: String, after offset: Int = 0) -> Bool {
        position + offset < tokens.count && tokens[position + offset].kind == .symbol(symbol)
    }

    func isNext(word: String, after offset: Int = 0) -> Bool {
        position + offset < tokens.count && tokens[position + offset].kind == .name(word)
    }

    mutating func skip() { position += 1 }

    mutating func take(_ symbol: String) -> Bool {
        guard isNext(symbol) else { return false }
        skip()
        return true
    }

    mutating func take(word: String) -> Bool {
        guard isNext(word: word) else { return false }
        skip()
        return true
    }

    mutating func expect(_ symbol: String) throws(TemplateFault) {
        guard take(symbol) else { throw unexpected("'\(symbol)'") }
    }

    mutating func expectName() throws(TemplateFault) -> String {
        guard case .name(let name) = token.kind else { throw unexpected("a name") }
        try note(name)
        skip()
        return name
    }

    /// - Throws: ``TemplateFault`` for one name too many.
    mutating func note(_ name: String) throws(TemplateFault) {
        names.insert(name)
        guard names.count <= Self.nameLimit else { throw TemplateFault(line, "more than \(Self.nameLimit) names") }
    }

    func unexpected(_ wanted: String) -> TemplateFault {
        TemplateFault(line, "expected \(wanted), and there is \(token.text)")
    }

    private mutating func expect(_ kind: TemplateToken.Kind, _ text: String) throws(TemplateFault) {
        guard token.kind == kind else { throw unexpected(text) }
        skip()
    }

    mutating func enter() throws(TemplateFault) {
        level += 1
        guard level <= Self.levelLimit else { throw TemplateFault(line, "more than \(Self.levelLimit) levels are open") }
    }

    mutating func leave() { level -= 1 }

    // MARK: Statements

    /// Statements up to a tag of one of these names, which is begun but not read; to the end for no names.
    private mutating func body(until ends: [String]) throws(TemplateFault) -> [TemplateStatement] {
        try enter()
        defer { leave() }
        let begin = line
        var statements: [TemplateStatement] = []
        while true {
            let line = self.line
            switch token.kind {
            case .text(let text):
                skip()
                statements.append(TemplateStatement(kind: .text(text), line: line))
            case .outputBegin:
                skip()
                let value = try unmarked(tuple())
                try expect(.outputEnd, "}}")
                statements.append(TemplateStatement(kind: .output(value), line: line))
            case .tagBegin:
                skip()
                if case .name(let name) = token.kind, ends.contains(name) { return statements }
                statements.append(TemplateStatement(kind: try statement(), line: line))
                try expect(.tagEnd, "%}")
            case .end:
                guard ends.isEmpty else { throw TemplateFault(begin, "\(ends.joined(separator: " or ")) is missing") }
                return statements
            default: throw unexpected("text or a tag")
            }
        }
    }

    /// `safe` marks text that needs no escapes, and nothing is escaped here: where the text is printed at once it does nothing.
    private func unmarked(_ value: TemplateExpression) -> TemplateExpression {
        guard case .filter(let inner, "safe", let arguments) = value.kind, arguments.all.isEmpty else { return value }
        return inner
    }

    private mutating func end(_ name: String) throws(TemplateFault) {
        guard take(word: name) else { throw unexpected(name) }
    }

    /// A statement without the end of its last tag.
    private mutating func statement() throws(TemplateFault) -> TemplateStatement.Kind {
        let line = self.line
        let name = try expectName()
        switch name {
        case "if": return try conditional()
        case "for": return try loop()
        case "set": return try set()
        case "macro": return try macro()
        case "generation":
            try expect(.tagEnd, "%}")
            let body = try body(until: ["endgeneration"])
            try end("endgeneration")
            return .block(TemplateBody(statements: body))
        case "break", "continue":
            guard loops > 0 else { throw TemplateFault(line, "\(name) is not inside a loop") }
            return name == "break" ? .leaveLoop : .nextTurn
        default: throw TemplateFault(line, "the statement '\(name)' is not supported")
        }
    }

    private mutating func conditional() throws(TemplateFault) -> TemplateStatement.Kind {
        var branches: [(test: TemplateExpression, body: [TemplateStatement])] = []
        var otherwise: [TemplateStatement] = []
        while true {
            let test = try choice()
            try expect(.tagEnd, "%}")
            branches.append((test, try body(until: ["elif", "else", "endif"])))
            if take(word: "elif") { continue }
            if take(word: "else") {
                try expect(.tagEnd, "%}")
                otherwise = try body(until: ["endif"])
            }
            try end("endif")
            return .conditional(branches, otherwise: otherwise)
        }
    }

    private mutating func loop() throws(TemplateFault) -> TemplateStatement.Kind {
        let target = try target(allowsMembers: false)
        guard take(word: "in") else { throw unexpected("in") }
        let items = try choice()
        if isNext(word: "recursive") { throw TemplateFault(line, "'recursive' is not supported") }
        let test = take(word: "if") ? try expression() : nil
        try expect(.tagEnd, "%}")
        loops += 1
        let body = try body(until: ["else", "endfor"])
        loops -= 1
        var otherwise: [TemplateStatement] = []
        if take(word: "else") {
            try expect(.tagEnd, "%}")
            otherwise = try self.body(until: ["endfor"])
        }
        try end("endfor")
        return .loop(
            TemplateLoopSyntax(
                target: target, items: items, test: test, body: TemplateBody(statements: body),
                otherwise: TemplateBody(statements: otherwise)))
    }

    private mutating func set() throws(TemplateFault) -> TemplateStatement.Kind {
        let target = try target(allowsMembers: true)
        if take("=") { return .set(target, try tuple()) }
        if isNext("|") { throw TemplateFault(line, "a set block with a filter is not supported") }
        try expect(.tagEnd, "%}")
        let body = try body(until: ["endset"])
        try end("endset")
        return .capture(target, TemplateBody(statements: body))
    }

    /// The body of a macro inside a loop does not count as part of that loop.
    private mutating func macro() throws(TemplateFault) -> TemplateStatement.Kind {
        let name = try checked(expectName())
        var parameters: [(name: String, value: TemplateExpression?)] = []
        try expect("(")
        while !take(")") {
            if !parameters.isEmpty { try expect(",") }
            let parameter = try checked(expectName())
            guard !parameters.contains(where: { $0.name == parameter }) else {
                throw TemplateFault(line, "the macro \(name) has the parameter \(parameter) twice")
            }
            let value = take("=") ? try expression() : nil
            if value == nil, parameters.last?.value != nil {
                throw TemplateFault(line, "the parameter \(parameter) has no value, and the one before has")
            }
            parameters.append((parameter, value))
        }
        try expect(.tagEnd, "%}")
        let outer = loops
        loops = 0
        let body = try body(until: ["endmacro"])
        loops = outer
        try end("endmacro")
        return .macro(TemplateMacro(name, parameters, TemplateBody(statements: body)))
    }

    private mutating func target(allowsMembers: Bool) throws(TemplateFault) -> TemplateTarget {
        let isBracketed = take("(")
        var names = [try checked(expectName())]
        if allowsMembers, !isBracketed, take(".") {
            return .member(namespace: names[0], name: try expectName())
        }
        var isTuple = false
        while take(",") {
            isTuple = true
            guard !isNext(word: "in") else { throw unexpected("a name") }
            names.append(try checked(expectName()))
        }
        if isBracketed { try expect(")") }
        return isTuple ? .names(names) : .name(names[0])
    }

    private static let reserved = [
        "true", "false", "none", "True", "False", "None", "self", "loop", "caller", "varargs", "kwargs",
    ]

    private func checked(_ name: String) throws(TemplateFault) -> String {
        guard !Self.reserved.contains(name) else { throw TemplateFault(line, "\(name) cannot be given a value") }
        return name
    }
}
