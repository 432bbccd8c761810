/// Expressions.
extension TemplateRenderer {
    func value(of expression: TemplateExpression, _ scope: TemplateScope) throws(TemplateFault) -> TemplateValue {
        let line = expression.line
        try budget.enter(line)
        defer { budget.leave() }
        switch expression.kind {
        case .constant(let value): return value
        case .name(let name): return try named(name, scope, line)
        case .list(let items): return .sequence(try sequence(items, .list, scope, line))
        case .tuple(let items): return .sequence(try sequence(items, .tuple, scope, line))
        case .mapping(let entries): return try mapping(entries, scope, line)
        case .attribute(let owner, let name): return try attribute(name, of: try value(of: owner, scope), line)
        case .element(let owner, let place):
            return try element(try value(of: place, scope), of: try value(of: owner, scope), line)
        case .slice(let owner, let bounds): return try slice(owner, bounds, scope, line)
        case .call(let function, let arguments):
            return try call(try value(of: function, scope), try self.arguments(arguments, scope, line))
        case .filter(let input, let name, let arguments):
            return try filter(name, try value(of: input, scope), try self.arguments(arguments, scope, line))
        case .test(let input, let name, let arguments):
            return .bool(try test(name, try value(of: input, scope), try self.arguments(arguments, scope, line)))
        case .not(let operand): return .bool(!(try value(of: operand, scope).isTrue))
        case .sign(let symbol, let operand): return try signed(symbol, try value(of: operand, scope), line)
        case .both(let left, let right):
            let value = try value(of: left, scope)
            return value.isTrue ? try self.value(of: right, scope) : value
        case .either(let left, let right):
            let value = try value(of: left, scope)
            return value.isTrue ? value : try self.value(of: right, scope)
        case .comparison(let first, let others): return try comparison(first, others, scope, line)
        case .arithmetic(let symbol, let left, let right):
            return try arithmetic(symbol, try value(of: left, scope), try value(of: right, scope), line)
        case .joined(let parts):
            var text: [UInt8] = []
            for part in parts { text += try self.text(of: try value(of: part, scope), part.line) }
            return .string(text)
        case .conditional(let test, let then, let otherwise):
            if try value(of: test, scope).isTrue { return try value(of: then, scope) }
            return try otherwise.map { expression throws(TemplateFault) in try value(of: expression, scope) }
                ?? .undefined("what follows if")
        }
    }

    private static let unknownNames = ["lipsum", "cycler", "joiner", "self", "caller", "varargs", "kwargs", "super", "_"]

    private func named(_ name: String, _ scope: TemplateScope, _ line: Int) throws(TemplateFault) -> TemplateValue {
        if let value = scope[name] { return value }
        if Self.globals.contains(name) { return .function(.global(name)) }
        guard !Self.unknownNames.contains(name) else { throw TemplateFault(line, "the name '\(name)' is not supported") }
        return .undefined(name)
    }

    private func sequence(
        _ items: [TemplateExpression], _ kind: TemplateSequence.Kind, _ scope: TemplateScope, _ line: Int
    ) throws(TemplateFault) -> TemplateSequence {
        var values: [TemplateValue] = []
        for item in items {
            let value = try value(of: item, scope)
            try keep(value, line)
            values.append(value)
        }
        return TemplateSequence(values, kind)
    }

    private func mapping(
        _ entries: [(key: TemplateExpression, value: TemplateExpression)], _ scope: TemplateScope, _ line: Int
    ) throws(TemplateFault) -> TemplateValue {
        var mapping = TemplateMapping()
        for entry in entries {
            guard case .string(let key) = try value(of: entry.key, scope) else {
                throw TemplateFault(entry.key.line, "a mapping's key that is not a string is not supported")
            }
            let value = try value(of: entry.value, scope)
            try keep(value, line)
            mapping.set(key, value)
        }
        return .mapping(mapping)
    }

    func arguments(
        _ arguments: TemplateArguments, _ scope: TemplateScope, _ line: Int
    ) throws(TemplateFault) -> TemplateCallArguments {
        var result = TemplateCallArguments(line: line)
        for argument in arguments.unnamed { result.unnamed.append(try value(of: argument, scope)) }
        for argument in arguments.named { result.named.append((argument.name, try value(of: argument.value, scope))) }
        return result
    }

    // MARK: Operators

    private func comparison(
        _ first: TemplateExpression, _ others: [(symbol: String, other: TemplateExpression)], _ scope: TemplateScope,
        _ line: Int
    ) throws(TemplateFault) -> TemplateValue {
        var left = try value(of: first, scope)
        for (symbol, other) in others {
            let right = try value(of: other, scope)
            guard try holds(left, symbol, right, line) else { return .bool(false) }
            left = right
        }
        return .bool(true)
    }

    func holds(
        _ left: TemplateValue, _ symbol: String, _ right: TemplateValue, _ line: Int
    ) throws(TemplateFault) -> Bool {
        switch symbol {
        case "==": return try areEqual(left, right, line)
        case "!=": return !(try areEqual(left, right, line))
        case "in": return try isIn(left, right, line)
        case "not in": return !(try isIn(left, right, line))
        default: break
        }
        let isLess: Bool
        let isEqual: Bool
        if let a = left.number, let b = right.number {
            (isLess, isEqual) = (a < b, a == b)
        } else if case (.string(let a), .string(let b)) = (left, right) {
            try budget.spend(bytes: min(a.count, b.count), line)
            // UTF-8 is ordered as its characters are.
            (isLess, isEqual) = (a.lexicographicallyPrecedes(b), a == b)
        } else {
            throw TemplateFault(line, "\(left.kind) and \(right.kind) cannot be ordered")
        }
        switch symbol {
        case "<": return isLess
        case "<=": return isLess || isEqual
        case ">": return !isLess && !isEqual
        default: return !isLess
        }
    }

    private func areEqual(_ a: TemplateValue, _ b: TemplateValue, _ line: Int) throws(TemplateFault) -> Bool {
        try budget.spend(bytes: min(a.weight, b.weight), line)
        guard let isEqual = TemplateValue.areEqual(a, b) else {
            throw TemplateFault(line, "\(a.kind) and \(b.kind) cannot be compared")
        }
        return isEqual
    }

    private func isIn(_ item: TemplateValue, _ place: TemplateValue, _ line: Int) throws(TemplateFault) -> Bool {
        switch place {
        case .string(let text):
            guard case .string(let part) = item else { throw TemplateFault(line, "\(item.kind) cannot be in a string") }
            try budget.spend(bytes: text.count, line)
            return part.isEmpty || !PythonText.places(of: part, in: text, most: 1).isEmpty
        case .mapping(let mapping):
            switch item {
            case .string(let key): return mapping[key] != nil
            case .undefined, .none, .bool, .integer, .float: return false
            default: throw TemplateFault(line, "\(item.kind) cannot be a key of a mapping")
            }
        default:
            for other in try items(of: place, line) where try areEqual(item, other, line) { return true }
            return false
        }
    }

    private func signed(_ symbol: String, _ value: TemplateValue, _ line: Int) throws(TemplateFault) -> TemplateValue {
        switch value.number {
        case .integer(let number):
            guard symbol == "+" || number != .min else { throw TemplateFault(line, "-\(number) has more than 64 bits") }
            return .integer(symbol == "-" ? -number : number)
        case .float(let number): return .float(symbol == "-" ? -number : number)
        case nil: throw TemplateFault(line, "\(value.kind) cannot have a sign")
        }
    }

    private func arithmetic(
        _ symbol: String, _ left: TemplateValue, _ right: TemplateValue, _ line: Int
    ) throws(TemplateFault) -> TemplateValue {
        switch (symbol, left, right) {
        case ("+", .string(let a), .string(let b)):
            try budget.spend(bytes: a.count + b.count, line)
            return .string(a + b)
        case ("+", .sequence(let a), .sequence(let b)) where a.kind == b.kind && (a.kind == .list || a.kind == .tuple):
            try budget.spend(a.items.count + b.items.count, line)
            return .sequence(TemplateSequence(a.items + b.items, a.kind))
        case ("*", .string(let text), .integer(let count)), ("*", .integer(let count), .string(let text)):
            let (bytes, isTooMuch) = text.count.multipliedReportingOverflow(by: max(0, count))
            try budget.spend(bytes: isTooMuch ? .max : bytes, line)
            return .string(text.isEmpty ? [] : Array(repeatElement(text, count: max(0, count)).joined()))
        default: break
        }
        guard let a = left.number, let b = right.number else {
            throw TemplateFault(line, "'\(symbol)' of \(left.kind) and \(right.kind) is not supported")
        }
        if case (.integer(let a), .integer(let b)) = (a, b), symbol != "/" { return .integer(try integers(symbol, a, b, line)) }
        return .float(try floats(symbol, a.double, b.double, line))
    }

    /// Division rounds down, as Python's.
    private func integers(_ symbol: String, _ a: Int, _ b: Int, _ line: Int) throws(TemplateFault) -> Int {
        guard symbol == "+" || symbol == "-" || symbol == "*" || b != 0 else { throw TemplateFault(line, "division by 0") }
        let (value, overflows): (Int, Bool)
        switch symbol {
        case "+": (value, overflows) = a.addingReportingOverflow(b)
        case "-": (value, overflows) = a.subtractingReportingOverflow(b)
        case "*": (value, overflows) = a.multipliedReportingOverflow(by: b)
        default:
            guard b != -1 else {
                guard symbol == "//" else { return 0 }
                guard a != .min else { throw TemplateFault(line, "a number has more than 64 bits") }
                return -a
            }
            let (quotient, rest) = a.quotientAndRemainder(dividingBy: b)
            let isBelow = rest != 0 && (rest < 0) != (b < 0)
            (value, overflows) = (symbol == "//" ? quotient - (isBelow ? 1 : 0) : rest + (isBelow ? b : 0), false)
        }
        guard !overflows else { throw TemplateFault(line, "a number has more than 64 bits") }
        return value
    }

    private func floats(_ symbol: String, _ a: Double, _ b: Double, _ line: Int) throws(TemplateFault) -> Double {
        switch symbol {
        case "+": return a + b
        case "-": return a - b
        case "*": return a * b
        default:
            guard b != 0 else { throw TemplateFault(line, "division by 0") }
            guard symbol == "/" else { throw TemplateFault(line, "'\(symbol)' of numbers with a fraction is not supported") }
            return a / b
        }
    }

    private func slice(
        _ owner: TemplateExpression, _ bounds: [TemplateExpression?], _ scope: TemplateScope, _ line: Int
    ) throws(TemplateFault) -> TemplateValue {
        let whole = try value(of: owner, scope)
        var places: [Int?] = []
        for bound in bounds {
            guard let bound else { places.append(nil); continue }
            let value = try value(of: bound, scope)
            if case .none = value { places.append(nil); continue }
            guard let place = value.integer else { throw TemplateFault(line, "\(value.kind) cannot be a bound of a slice") }
            places.append(place)
        }
        let step = places.count > 2 ? places[2] ?? 1 : 1
        guard step != 0 else { throw TemplateFault(line, "the step of a slice is 0") }
        switch whole {
        case .string(let text):
            try budget.spend(bytes: text.count, line)
            let characters = PythonText.characters(text)
            return .string(PythonText.indices(characters.count, places[0], places[1], step: step).flatMap { characters[$0] })
        case .sequence(let sequence) where sequence.kind != .view:
            let indices = PythonText.indices(sequence.items.count, places[0], places[1], step: step)
            try budget.spend(indices.count, line)
            return .sequence(TemplateSequence(indices.map { sequence.items[$0] }, sequence.kind))
        default: throw TemplateFault(line, "\(whole.kind) has no slices")
        }
    }
}
