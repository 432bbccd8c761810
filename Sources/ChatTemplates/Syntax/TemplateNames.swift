/// Which names have a value where a body begins: Jinja's rule for names that are set in it.
///
/// Where a body sets a name before it reads it, and no body around it has the name, then the name is undefined from the body's
/// beginning on, whatever the template was given. Bodies within it can tell. A name that only some branches of an `if` set
/// keeps what was given.
struct TemplateNames {
    /// Names that bodies around this one read or set.
    private let outer: Set<String>
    /// By name: whether it is undefined when the body begins.
    private var isHidden: [String: Bool] = [:]
    private var stores: Set<String> = []

    /// The statements with the bodies in them told what they hide.
    static func body(_ statements: [TemplateStatement]) -> TemplateBody {
        body(statements, parameters: [], reads: [], outer: [])
    }

    private static func body(
        _ statements: [TemplateStatement], parameters: [String], reads: [TemplateExpression], outer: Set<String>
    ) -> TemplateBody {
        var names = TemplateNames(outer: outer)
        for name in parameters { names.isHidden[name] = false }
        for expression in reads { names.read(expression) }
        names.visit(statements)
        let known = outer.union(names.isHidden.keys)
        return TemplateBody(
            statements: statements.map { resolved($0, known) }, hidden: names.isHidden.filter(\.value).keys.sorted())
    }

    private init(outer: Set<String>) { self.outer = outer }

    // MARK: This body

    private mutating func read(_ name: String) {
        if isHidden[name] == nil, !outer.contains(name) { isHidden[name] = false }
    }

    private mutating func store(_ name: String) {
        stores.insert(name)
        if isHidden[name] == nil { isHidden[name] = !outer.contains(name) }
    }

    private mutating func store(_ target: TemplateTarget) {
        switch target {
        case .name(let name): store(name)
        case .names(let names): for name in names { store(name) }
        case .member(let namespace, _): read(namespace)
        }
    }

    private mutating func read(_ expression: TemplateExpression) {
        if case .name(let name) = expression.kind { read(name) }
        for part in expression.parts { read(part) }
    }

    private mutating func visit(_ statements: [TemplateStatement]) {
        for statement in statements {
            switch statement.kind {
            case .text, .block, .leaveLoop, .nextTurn: break
            case .output(let expression): read(expression)
            case .conditional(let branches, let otherwise): visit(branches, otherwise)
            case .loop(let loop): read(loop.items)
            case .set(let target, let expression):
                read(expression)
                store(target)
            case .capture(let target, _): store(target)
            case .macro(let macro): store(macro.name)
            }
        }
    }

    private mutating func visit(
        _ branches: [(test: TemplateExpression, body: [TemplateStatement])], _ otherwise: [TemplateStatement]
    ) {
        guard let first = branches.first else { return }
        read(first.test)
        var (body, others, rest) = (self, self, self)
        body.visit(first.body)
        for branch in branches.dropFirst() { others.visit([branch], []) }
        rest.visit(otherwise)
        var counts: [String: Int] = [:]
        for branch in [body, others, rest] {
            for name in branch.stores.subtracting(stores) { counts[name, default: 0] += 1 }
        }
        for branch in [body, others, rest] {
            isHidden.merge(branch.isHidden) { $1 }
            stores.formUnion(branch.stores)
        }
        for (name, count) in counts where count < 3 { isHidden[name] = false }
    }

    // MARK: Bodies in it

    private static func resolved(_ statement: TemplateStatement, _ known: Set<String>) -> TemplateStatement {
        func inner(
            _ body: TemplateBody, _ parameters: [String] = [], _ reads: [TemplateExpression] = []
        ) -> TemplateBody {
            self.body(body.statements, parameters: parameters, reads: reads, outer: known)
        }
        let kind: TemplateStatement.Kind
        switch statement.kind {
        case .text, .output, .set, .leaveLoop, .nextTurn: return statement
        case .conditional(let branches, let otherwise):
            kind = .conditional(
                branches.map { ($0.test, $0.body.map { resolved($0, known) }) },
                otherwise: otherwise.map { resolved($0, known) })
        case .loop(let loop):
            let targets =
                switch loop.target {
                case .name(let name): [name]
                case .names(let names): names
                case .member: [String]()
                }
            kind = .loop(
                TemplateLoopSyntax(
                    target: loop.target, items: loop.items, test: loop.test, body: inner(loop.body, targets + ["loop"]),
                    otherwise: inner(loop.otherwise)))
        case .capture(let target, let body): kind = .capture(target, inner(body))
        case .macro(let macro):
            kind = .macro(
                TemplateMacro(
                    macro.name, macro.parameters,
                    inner(macro.body, macro.parameters.map(\.name), macro.parameters.compactMap(\.value))))
        case .block(let body): kind = .block(inner(body))
        }
        return TemplateStatement(kind: kind, line: statement.line)
    }
}
