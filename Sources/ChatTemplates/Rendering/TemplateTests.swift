/// The tests that templates may name.
enum TemplateTests {
    static let names: Set = [
        "defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean",
        "true", "false", "odd", "even", "divisibleby", "in", "==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=",
        "le", ">", "gt", "greaterthan", ">=", "ge",
    ]
}

extension TemplateRenderer {
    func test(_ name: String, _ value: TemplateValue, _ arguments: TemplateCallArguments) throws(TemplateFault) -> Bool {
        let line = arguments.line
        let comparisons = [
            "in": "in", "==": "==", "eq": "==", "equalto": "==", "!=": "!=", "ne": "!=", "<": "<", "lt": "<", "lessthan": "<",
            "<=": "<=", "le": "<=", ">": ">", "gt": ">", "greaterthan": ">", ">=": ">=", "ge": ">=",
        ]
        if let symbol = comparisons[name] {
            guard let other = try arguments.bound(to: ["other"], of: name)[0] else {
                throw TemplateFault(line, "the test \(name) takes a value")
            }
            return try holds(value, symbol, other, line)
        }
        if name == "divisibleby" {
            let divisor = try arguments.bound(to: ["num"], of: name)[0].integer(name, line) ?? 0
            return try rest(value, by: divisor, line) == 0
        }
        try arguments.none(of: name)
        switch name {
        case "odd": return try rest(value, by: 2, line) == 1
        case "even": return try rest(value, by: 2, line) == 0
        default: return isOf(name, value)
        }
    }

    private func rest(_ value: TemplateValue, by divisor: Int, _ line: Int) throws(TemplateFault) -> Int {
        guard let number = value.integer, divisor > 0 else {
            throw TemplateFault(line, "\(value.kind) has no remainder of a division by \(divisor)")
        }
        let rest = number % divisor
        return rest < 0 ? rest + divisor : rest
    }

    private func isOf(_ kind: String, _ value: TemplateValue) -> Bool {
        switch (kind, value) {
        case ("undefined", .undefined), ("none", .none), ("string", .string), ("mapping", .mapping): true
        case ("defined", _): !value.isUndefined
        case ("iterable", .none), ("iterable", .bool), ("iterable", .integer), ("iterable", .float), ("iterable", .function),
            ("iterable", .namespace):
            false
        case ("iterable", _): true
        case ("sequence", .sequence(let sequence)): sequence.kind != .view
        case ("sequence", .undefined), ("sequence", .string), ("sequence", .mapping): true
        case ("number", _): value.number != nil
        case ("integer", .integer), ("float", .float), ("boolean", .bool): true
        case ("true", .bool(let flag)): flag
        case ("false", .bool(let flag)): !flag
        default: false
        }
    }
}
