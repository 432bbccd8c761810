/// Expressions, from the loosest operator to the tightest.
extension TemplateParser {
    /// Expressions with commas between them are a tuple.
    mutating func tuple() throws(TemplateFault) -> TemplateExpression {
        let line = self.line
        let first = try expression()
        guard isNext(",") else { return first }
        var items = [first]
        while take(",") {
            if endsExpression { break }
            items.append(try expression())
        }
        return try TemplateExpression(.tuple(items), line, items)
    }

    private var endsExpression: Bool {
        switch token.kind {
        case .outputEnd, .tagEnd, .end, .symbol(")"), .symbol("]"), .symbol("}"): true
        default: false
        }
    }

    /// `a if b else c`, and what binds tighter.
    mutating func expression() throws(TemplateFault) -> TemplateExpression {
        try enter()
        defer { leave() }
        var value = try choice()
        while isNext(word: "if") {
            let line = self.line
            skip()
            let test = try choice()
            let otherwise = take(word: "else") ? try expression() : nil
            value = try TemplateExpression(
                .conditional(test, then: value, otherwise: otherwise), line, [test, value] + [otherwise].compactMap(\.self))
        }
        return value
    }

    /// `or`.
    mutating func choice() throws(TemplateFault) -> TemplateExpression {
        var left = try conjunction()
        while isNext(word: "or") {
            let line = self.line
            skip()
            let right = try conjunction()
            left = try TemplateExpression(.either(left, right), line, [left, right])
        }
        return left
    }

    private mutating func conjunction() throws(TemplateFault) -> TemplateExpression {
        var left = try negation()
        while isNext(word: "and") {
            let line = self.line
            skip()
            let right = try negation()
            left = try TemplateExpression(.both(left, right), line, [left, right])
        }
        return left
    }

    private mutating func negation() throws(TemplateFault) -> TemplateExpression {
        guard isNext(word: "not") else { return try comparison() }
        try enter()
        defer { leave() }
        let line = self.line
        skip()
        let value = try negation()
        return try TemplateExpression(.not(value), line, [value])
    }

    private mutating func comparison() throws(TemplateFault) -> TemplateExpression {
        let line = self.line
        let first = try sum()
        var others: [(symbol: String, other: TemplateExpression)] = []
        while true {
            if case .symbol(let symbol) = token.kind, ["==", "!=", "<", ">", "<=", ">="].contains(symbol) {
                skip()
                others.append((symbol, try sum()))
            } else if take(word: "in") {
                others.append(("in", try sum()))
            } else if isNext(word: "not"), isNext(word: "in", after: 1) {
                skip()
                skip()
                others.append(("not in", try sum()))
            } else {
                break
            }
        }
        return others.isEmpty
            ? first : try TemplateExpression(.comparison(first, others), line, [first] + others.map(\.other))
    }

    private mutating func sum() throws(TemplateFault) -> TemplateExpression {
        var left = try concatenation()
        while case .symbol(let symbol) = token.kind, symbol == "+" || symbol == "-" {
            let line = self.line
            skip()
            let right = try concatenation()
            left = try TemplateExpression(.arithmetic(symbol, left, right), line, [left, right])
        }
        return left
    }

    private mutating func concatenation() throws(TemplateFault) -> TemplateExpression {
        let line = self.line
        var parts = [try product()]
        while take("~") { parts.append(try product()) }
        return parts.count == 1 ? parts[0] : try TemplateExpression(.joined(parts), line, parts)
    }

    private mutating func product() throws(TemplateFault) -> TemplateExpression {
        var left = try signed(takesFilters: true)
        while case .symbol(let symbol) = token.kind, ["*", "/", "//", "%", "**"].contains(symbol) {
            let line = self.line
            guard symbol != "**" else { throw TemplateFault(line, "'**' is not supported") }
            skip()
            let right = try signed(takesFilters: true)
            left = try TemplateExpression(.arithmetic(symbol, left, right), line, [left, right])
        }
        return left
    }

    /// A sign binds tighter than a filter, and looser than a dot.
    private mutating func signed(takesFilters: Bool) throws(TemplateFault) -> TemplateExpression {
        try enter()
        defer { leave() }
        let line = self.line
        var value: TemplateExpression
        if case .symbol(let symbol) = token.kind, symbol == "-" || symbol == "+" {
            skip()
            let operand = try signed(takesFilters: false)
            value = try TemplateExpression(.sign(symbol, operand), line, [operand])
        } else {
            value = try primary()
        }
        value = try postfix(value)
        return takesFilters ? try filtered(value) : value
    }

    private mutating func primary() throws(TemplateFault) -> TemplateExpression {
        let line = self.line
        switch token.kind {
        case .name(let name):
            try note(name)
            skip()
            switch name {
            case "true", "True": return try TemplateExpression(.constant(.bool(true)), line)
            case "false", "False": return try TemplateExpression(.constant(.bool(false)), line)
            case "none", "None": return try TemplateExpression(.constant(.none), line)
            default: return try TemplateExpression(.name(name), line)
            }
        case .string(var text):
            skip()
            // Strings side by side are one.
            while case .string(let more) = token.kind {
                text += more
                skip()
            }
            return try TemplateExpression(.constant(.string(text)), line)
        case .integer(let value):
            skip()
            return try TemplateExpression(.constant(.integer(value)), line)
        case .float(let value):
            skip()
            return try TemplateExpression(.constant(.float(value)), line)
        case .symbol("("): return try bracketed()
        case .symbol("["):
            let items = try items(from: "[", to: "]")
            return try TemplateExpression(.list(items), line, items)
        case .symbol("{"): return try mapping()
        default: throw unexpected("a value")
        }
    }

    private mutating func bracketed() throws(TemplateFault) -> TemplateExpression {
        let line = self.line
        try expect("(")
        if take(")") { return try TemplateExpression(.tuple([]), line) }
        let value = try tuple()
        try expect(")")
        return value
    }

    private mutating func items(from open: String, to close: String) throws(TemplateFault) -> [TemplateExpression] {
        try expect(open)
        var items: [TemplateExpression] = []
        while !take(close) {
            if !items.isEmpty {
                try expect(",")
                if take(close) { break }
            }
            items.append(try expression())
        }
        return items
    }

    private mutating func mapping() throws(TemplateFault) -> TemplateExpression {
        let line = self.line
        try expect("{")
        var entries: [(key: TemplateExpression, value: TemplateExpression)] = []
        while !take("}") {
            if !entries.isEmpty {
                try expect(",")
                if take("}") { break }
            }
            let key = try expression()
            try expect(":")
            entries.append((key, try expression()))
        }
        return try TemplateExpression(.mapping(entries), line, entries.flatMap { [$0.key, $0.value] })
    }

    /// Members, elements, slices and calls.
    private mutating func postfix(_ start: TemplateExpression) throws(TemplateFault) -> TemplateExpression {
        var value = start
        while true {
            let line = self.line
            if take(".") {
                if case .integer(let place) = token.kind {
                    skip()
                    let element = try TemplateExpression(.constant(.integer(place)), line)
                    value = try TemplateExpression(.element(value, element), line, [value])
                } else {
                    value = try TemplateExpression(.attribute(value, try expectName()), line, [value])
                }
            } else if isNext("[") {
                value = try element(of: value)
            } else if isNext("(") {
                let arguments = try arguments()
                value = try TemplateExpression(.call(value, arguments), line, [value] + arguments.all)
            } else {
                return value
            }
        }
    }

    private mutating func element(of value: TemplateExpression) throws(TemplateFault) -> TemplateExpression {
        let line = self.line
        try expect("[")
        var bounds: [TemplateExpression?] = [nil]
        while !isNext("]") {
            if take(":") {
                bounds.append(nil)
                guard bounds.count <= 3 else { throw TemplateFault(line, "a slice has more than three parts") }
            } else {
                guard bounds[bounds.count - 1] == nil else { throw unexpected("']'") }
                bounds[bounds.count - 1] = try expression()
            }
        }
        try expect("]")
        if bounds.count > 1 {
            return try TemplateExpression(.slice(value, bounds), line, [value] + bounds.compactMap(\.self))
        }
        guard let place = bounds[0] else { throw TemplateFault(line, "'[]' names no element") }
        return try TemplateExpression(.element(value, place), line, [value, place])
    }

    private mutating func arguments() throws(TemplateFault) -> TemplateArguments {
        try expect("(")
        var arguments = TemplateArguments()
        var isFirst = true
        while !take(")") {
            if !isFirst {
                try expect(",")
                if take(")") { break }
            }
            isFirst = false
            if isNext("*") || isNext("**") { throw TemplateFault(line, "'*' before an argument is not supported") }
            if case .name(let name) = token.kind, isNext("=", after: 1) {
                guard !arguments.named.contains(where: { $0.name == name }) else {
                    throw TemplateFault(line, "the argument \(name) is given twice")
                }
                skip()
                skip()
                arguments.named.append((name, try expression()))
            } else {
                guard arguments.named.isEmpty else {
                    throw TemplateFault(line, "an argument without a name stands after one with a name")
                }
                arguments.unnamed.append(try expression())
            }
        }
        return arguments
    }

    /// Filters and tests.
    private mutating func filtered(_ start: TemplateExpression) throws(TemplateFault) -> TemplateExpression {
        var value = start
        while true {
            let line = self.line
            if take("|") {
                let name = try expectName()
                guard TemplateFilters.names.contains(name) else {
                    throw TemplateFault(line, "the filter '\(name)' is not supported")
                }
                let arguments = isNext("(") ? try arguments() : TemplateArguments()
                value = try TemplateExpression(.filter(value, name, arguments), line, [value] + arguments.all)
            } else if take(word: "is") {
                value = try test(value, line)
            } else if isNext("(") {
                let arguments = try arguments()
                value = try TemplateExpression(.call(value, arguments), line, [value] + arguments.all)
            } else {
                return value
            }
        }
    }

    private mutating func test(_ value: TemplateExpression, _ line: Int) throws(TemplateFault) -> TemplateExpression {
        let isNegated = take(word: "not")
        let name: String
        if case .symbol(let symbol) = token.kind, ["==", "!="].contains(symbol) {
            throw unexpected("the name of a test")
        } else {
            name = try expectName()
        }
        guard TemplateTests.names.contains(name) else { throw TemplateFault(line, "the test '\(name)' is not supported") }
        var arguments = TemplateArguments()
        if isNext("(") {
            arguments = try self.arguments()
        } else if startsArgument {
            if isNext(word: "is") { throw TemplateFault(self.line, "a test of a test is not supported") }
            arguments.unnamed = [try postfix(primary())]
        }
        let result = try TemplateExpression(.test(value, name, arguments), line, [value] + arguments.all)
        return isNegated ? try TemplateExpression(.not(result), line, [result]) : result
    }

    /// Whether the argument of a test stands here, without brackets.
    private var startsArgument: Bool {
        switch token.kind {
        case .name(let name): !["else", "or", "and"].contains(name)
        case .string, .integer, .float, .symbol("["), .symbol("{"): true
        default: false
        }
    }
}
