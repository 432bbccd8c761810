/// Runs a template.
final class TemplateRenderer {
    /// What becomes of a loop after a statement in it.
    enum Flow { case goesOn, leavesLoop, nextTurn }

    var budget = TemplateBudget()
    /// The time that `strftime_now` tells: seconds since 1970.
    let now: Int
    /// The text that is being made, and around it those of which it will be a part.
    private var texts: [[UInt8]] = [[]]
    private static let outputLimit = 16 << 20

    init(now: Int) { self.now = now }

    /// - Throws: ``TemplateFault``.
    func render(_ template: TemplateBody, _ variables: TemplateScope) throws(TemplateFault) -> [UInt8] {
        _ = try run(template, TemplateScope(in: variables))
        return texts[0]
    }

    // MARK: Text

    private func print(_ text: [UInt8], _ line: Int) throws(TemplateFault) {
        try budget.spend(bytes: text.count, line)
        let last = texts.count - 1
        guard texts[last].count + text.count <= Self.outputLimit else {
            throw TemplateFault(line, "the text has more than \(Self.outputLimit) bytes")
        }
        texts[last] += text
    }

    private func captured(_ body: () throws(TemplateFault) -> Flow) throws(TemplateFault) -> (text: [UInt8], flow: Flow) {
        texts.append([])
        do throws(TemplateFault) {
            let flow = try body()
            return (texts.removeLast(), flow)
        } catch {
            texts.removeLast()
            throw error
        }
    }

    // MARK: Statements

    /// - Parameter scope: the body's own.
    private func run(_ body: TemplateBody, _ scope: TemplateScope) throws(TemplateFault) -> Flow {
        if let line = body.statements.first?.line { try budget.spend(body.hidden.count, line) }
        for name in body.hidden where !scope.has(name) { scope[name] = .undefined(name) }
        return try run(body.statements, scope)
    }

    private func run(_ statements: [TemplateStatement], _ scope: TemplateScope) throws(TemplateFault) -> Flow {
        for statement in statements {
            let flow = try run(statement, scope)
            if flow != .goesOn { return flow }
        }
        return .goesOn
    }

    private func run(_ statement: TemplateStatement, _ scope: TemplateScope) throws(TemplateFault) -> Flow {
        let line = statement.line
        try budget.enter(line)
        defer { budget.leave() }
        switch statement.kind {
        case .text(let text): try print(text, line)
        case .output(let expression): try print(text(of: try value(of: expression, scope), expression.line), line)
        case .conditional(let branches, let otherwise):
            for branch in branches where try value(of: branch.test, scope).isTrue { return try run(branch.body, scope) }
            return try run(otherwise, scope)
        case .loop(let loop): return try run(loop, scope, line)
        case .set(let target, let expression):
            try assign(try value(of: expression, scope), to: target, scope, line)
        case .capture(let target, let body):
            let (text, flow) = try captured { () throws(TemplateFault) in try run(body, TemplateScope(in: scope)) }
            try assign(.string(text), to: target, scope, line)
            return flow
        case .macro(let macro): scope[macro.name] = .function(.macro(macro, scope))
        case .block(let body): return try run(body, TemplateScope(in: scope))
        case .leaveLoop: return .leavesLoop
        case .nextTurn: return .nextTurn
        }
        return .goesOn
    }

    private func run(_ loop: TemplateLoopSyntax, _ scope: TemplateScope, _ line: Int) throws(TemplateFault) -> Flow {
        var items = try items(of: try value(of: loop.items, scope), loop.items.line)
        if let test = loop.test {
            var kept: [TemplateValue] = []
            for item in items {
                let inner = TemplateScope(in: scope)
                try assign(item, to: loop.target, inner, line)
                if try value(of: test, inner).isTrue { kept.append(item) }
            }
            items = kept
        }
        let state = TemplateLoop(items)
        // As in Jinja, `else` is for a loop no turn of which has come to the end of the body.
        var hasEnded = false
        for (index, item) in items.enumerated() {
            state.index = index
            let inner = TemplateScope(in: scope)
            inner["loop"] = .loop(state)
            try assign(item, to: loop.target, inner, line)
            let flow = try run(loop.body, inner)
            if flow == .leavesLoop { break }
            if flow == .goesOn { hasEnded = true }
        }
        return hasEnded ? .goesOn : try run(loop.otherwise, TemplateScope(in: scope))
    }

    private func assign(
        _ value: TemplateValue, to target: TemplateTarget, _ scope: TemplateScope, _ line: Int
    ) throws(TemplateFault) {
        switch target {
        case .name(let name): scope[name] = value
        case .names(let names):
            let items = try items(of: value, line)
            guard items.count == names.count else {
                throw TemplateFault(line, "\(items.count) values are given to \(names.count) names")
            }
            for (name, item) in zip(names, items) { scope[name] = item }
        case .member(let namespace, let name):
            guard case .namespace(let members)? = scope[namespace] else {
                throw TemplateFault(line, "\(namespace) is not a namespace; only members of one can be set")
            }
            try keep(value, line)
            guard !name.hasPrefix("_") else { throw TemplateFault(line, "the member \(name) cannot be set") }
            members.values.set(Array(name.utf8), value)
        }
    }

    /// - Throws: ``TemplateFault`` where lists and mappings cannot hold the value.
    func keep(_ value: TemplateValue, _ line: Int) throws(TemplateFault) {
        guard value.canBeKept else {
            throw TemplateFault(
                line,
                value.depth >= TemplateValue.depthLimit
                    ? "values have more than \(TemplateValue.depthLimit) levels"
                    : "\(value.kind) in another value is not supported")
        }
    }

    // MARK: Macros

    func call(
        _ macro: TemplateMacro, in outer: TemplateScope, _ arguments: TemplateCallArguments
    ) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        let scope = TemplateScope(in: outer)
        guard arguments.unnamed.count <= macro.parameters.count else {
            throw TemplateFault(line, "the macro \(macro.name) takes \(macro.parameters.count) arguments at most")
        }
        if let unknown = arguments.named.first(where: { given in !macro.parameters.contains { $0.name == given.name } }) {
            throw TemplateFault(line, "the macro \(macro.name) has no parameter \(unknown.name)")
        }
        for (index, parameter) in macro.parameters.enumerated() {
            let named = arguments.named.first { $0.name == parameter.name }?.value
            if index < arguments.unnamed.count {
                guard named == nil else { throw TemplateFault(line, "the argument \(parameter.name) is given twice") }
                scope[parameter.name] = arguments.unnamed[index]
            } else if let named {
                scope[parameter.name] = named
            } else if let value = parameter.value {
                scope[parameter.name] = try self.value(of: value, scope)
            } else {
                scope[parameter.name] = .undefined(parameter.name)
            }
        }
        return .string(try captured { () throws(TemplateFault) in try run(macro.body, scope) }.text)
    }

    // MARK: Values

    /// The items that a loop iterates over.
    func items(of value: TemplateValue, _ line: Int) throws(TemplateFault) -> [TemplateValue] {
        let items: [TemplateValue]
        switch value {
        case .undefined: items = []
        case .sequence(let sequence): items = sequence.items
        case .iterator(let iterator): items = iterator.take()
        case .mapping(let mapping): items = mapping.entries.map { .string($0.key) }
        case .string(let text): items = PythonText.characters(text).map { .string($0) }
        case .none, .bool, .integer, .float, .namespace, .loop, .function:
            throw TemplateFault(line, "\(value.kind) cannot be iterated over")
        }
        try budget.spend(items.count, line)
        return items
    }

    /// `str(value)`.
    func text(of value: TemplateValue, _ line: Int) throws(TemplateFault) -> [UInt8] {
        guard let text = value.text else {
            throw TemplateFault(
                line, "\(value.kind) is printed in Python's own form, which is not supported; use the filter tojson")
        }
        try budget.spend(bytes: text.count, line)
        return text
    }
}
