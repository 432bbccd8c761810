/// The filters that templates may name.
enum TemplateFilters {
    static let names: Set = [
        "abs", "capitalize", "count", "d", "default", "first", "int", "items", "join", "last", "length", "list", "lower", "map",
        "reject", "rejectattr", "replace", "reverse", "safe", "select", "selectattr", "string", "title", "tojson", "trim",
        "upper",
    ]
}

extension TemplateRenderer {
    func filter(
        _ name: String, _ input: TemplateValue, _ arguments: TemplateCallArguments
    ) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        switch name {
        case "trim":
            let characters = try arguments.bound(to: ["chars"], of: name)[0].string(name, line)
            return .string(PythonText.trimmed(try text(of: input, line), of: characters))
        case "upper", "lower", "capitalize", "title":
            try arguments.none(of: name)
            return .string(try cased(name, try text(of: input, line), line) { " \t\n\r\u{B}\u{C}-({[<".utf8.contains($0) })
        case "replace":
            return .string(
                try replaced(try text(of: input, line), arguments.bound(to: ["old", "new", "count"], of: name), line))
        case "string":
            try arguments.none(of: name)
            return .string(try text(of: input, line))
        case "default", "d":
            let values = try arguments.bound(to: ["default_value", "boolean"], of: name)
            let isMissing = input.isUndefined || (values[1]?.isTrue == true && !input.isTrue)
            return isMissing ? values[0] ?? .string([]) : input
        case "tojson": return try json(input, arguments)
        case "abs", "int":
            try arguments.none(of: name)
            return try name == "abs" ? magnitude(input, line) : integer(input, line)
        case "safe": throw TemplateFault(line, "the filter 'safe' is known only as the last one of {{ }}")
        default: return try listFilter(name, input, arguments)
        }
    }

    private func listFilter(
        _ name: String, _ input: TemplateValue, _ arguments: TemplateCallArguments
    ) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        switch name {
        case "length", "count":
            try arguments.none(of: name)
            return .integer(try length(input, line))
        case "first", "last":
            try arguments.none(of: name)
            if name == "first", case .iterator(let iterator) = input {
                return iterator.takeFirst() ?? .undefined("the first item")
            }
            if name == "last", case .iterator = input { throw TemplateFault(line, "an iterator has no last item") }
            let items = try items(of: input, line)
            return (name == "first" ? items.first : items.last) ?? .undefined("the \(name) item")
        case "list":
            try arguments.none(of: name)
            return .sequence(TemplateSequence(try items(of: input, line)))
        case "reverse":
            try arguments.none(of: name)
            if case .string(let text) = input {
                try budget.spend(bytes: text.count, line)
                return .string(PythonText.characters(text).reversed().flatMap(\.self))
            }
            return .iterator(TemplateIterator(try items(of: input, line).reversed()))
        case "items":
            try arguments.none(of: name)
            if input.isUndefined { return .iterator(TemplateIterator([])) }
            guard case .mapping(let mapping) = input else { throw TemplateFault(line, "\(input.kind) is not a mapping") }
            try budget.spend(mapping.count, line)
            return .iterator(TemplateIterator(Self.pairs(mapping)))
        case "join":
            let values = try arguments.bound(to: ["d", "attribute"], of: name)
            var items = try items(of: input, line)
            if let path = values[1] {
                for index in items.indices { items[index] = try attribute(at: path, of: items[index], line) }
            }
            return .string(
                try joined(items, by: try text(of: values[0] ?? .string([]), line), onlyText: false, line))
        case "map": return .iterator(TemplateIterator(try mapped(input, arguments)))
        default: return .iterator(TemplateIterator(try selected(name, input, arguments)))
        }
    }

    private func length(_ input: TemplateValue, _ line: Int) throws(TemplateFault) -> Int {
        switch input {
        case .undefined: return 0
        case .string(let text):
            try budget.spend(bytes: text.count, line)
            return PythonText.characterCount(text)
        case .sequence(let sequence): return sequence.items.count
        case .mapping(let mapping): return mapping.count
        case .loop(let loop): return loop.items.count
        default: throw TemplateFault(line, "\(input.kind) has no length")
        }
    }

    private func magnitude(_ input: TemplateValue, _ line: Int) throws(TemplateFault) -> TemplateValue {
        switch input.number {
        case .integer(let value) where value != .min: return .integer(abs(value))
        case .float(let value): return .float(abs(value))
        default: throw TemplateFault(line, "abs takes a number, and this is \(input.kind)")
        }
    }

    private func integer(_ input: TemplateValue, _ line: Int) throws(TemplateFault) -> TemplateValue {
        switch input {
        case .bool, .integer: return .integer(input.integer ?? 0)
        case .float(let value):
            guard let integer = Int(exactly: value.rounded(.towardZero)) else {
                throw TemplateFault(line, "\(value) is not an integer")
            }
            return .integer(integer)
        case .string(let text):
            let isPlain = !text.isEmpty && text.count < 19 && text.allSatisfy { (48...57).contains($0) }
            guard isPlain, let value = Int(String(decoding: text, as: UTF8.self)) else {
                throw TemplateFault(line, "int of a string that is not all digits is not supported")
            }
            return .integer(value)
        default: throw TemplateFault(line, "int of \(input.kind) is not supported")
        }
    }

    private func json(_ input: TemplateValue, _ arguments: TemplateCallArguments) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        let values = try arguments.bound(to: ["ensure_ascii", "indent", "separators", "sort_keys"], of: "tojson")
        let indent = try values[1].integer("tojson", line)
        guard values[0]?.isTrue != true else { throw TemplateFault(line, "tojson with ensure_ascii is not supported") }
        switch values[2] {
        case nil, .some(.none): break
        default: throw TemplateFault(line, "tojson with separators is not supported")
        }
        guard (0...16).contains(indent ?? 0) else { throw TemplateFault(line, "tojson takes an indent of 0 to 16 here") }
        var writer = TemplateJSON(indent: indent, sortsKeys: values[3]?.isTrue == true)
        // No less than it takes: six bytes for a byte, and an indented line for a value.
        try budget.spend(bytes: input.weight * (8 + (indent ?? 0) * (input.depth + 1)), line)
        guard writer.write(input) else {
            throw TemplateFault(line, "\(input.kind), or a value in it, cannot be written as JSON")
        }
        try budget.spend(bytes: writer.text.count, line)
        return .string(writer.text)
    }

    // MARK: Filters that go through items

    /// `a.b.0`, or a place.
    private func attribute(at path: TemplateValue, of item: TemplateValue, _ line: Int) throws(TemplateFault) -> TemplateValue {
        guard case .string(let path) = path else { return try element(path, of: item, line) }
        var value = item
        for part in PythonText.split(path, by: [UInt8(ascii: ".")]) {
            let place = Int(String(decoding: part, as: UTF8.self)).map(TemplateValue.integer)
            value = try element(place ?? .string(part), of: value, line)
        }
        return value
    }

    private func mapped(_ input: TemplateValue, _ arguments: TemplateCallArguments) throws(TemplateFault) -> [TemplateValue] {
        let line = arguments.line
        var results: [TemplateValue] = []
        if arguments.unnamed.isEmpty {
            let values = try arguments.bound(to: ["attribute", "default"], of: "map")
            guard let path = values[0] else { throw TemplateFault(line, "map takes an attribute or a filter") }
            for item in try items(of: input, line) {
                let value = try attribute(at: path, of: item, line)
                results.append(value.isUndefined ? values[1] ?? value : value)
            }
            return results
        }
        guard case .string(let name) = arguments.unnamed[0],
            TemplateFilters.names.contains(String(decoding: name, as: UTF8.self))
        else { throw TemplateFault(line, "map takes the name of a filter that is supported") }
        var rest = arguments
        rest.unnamed.removeFirst()
        for item in try items(of: input, line) {
            try budget.enter(line)
            defer { budget.leave() }
            results.append(try filter(String(decoding: name, as: UTF8.self), item, rest))
        }
        return results
    }

    /// `select`, `reject`, `selectattr` and `rejectattr`.
    private func selected(
        _ name: String, _ input: TemplateValue, _ arguments: TemplateCallArguments
    ) throws(TemplateFault) -> [TemplateValue] {
        let line = arguments.line
        var rest = arguments
        var path: TemplateValue?
        if name.hasSuffix("attr") {
            guard !rest.unnamed.isEmpty else { throw TemplateFault(line, "\(name) takes an attribute") }
            path = rest.unnamed.removeFirst()
        }
        var testName: String?
        if !rest.unnamed.isEmpty {
            guard case .string(let name) = rest.unnamed.removeFirst(),
                TemplateTests.names.contains(String(decoding: name, as: UTF8.self))
            else {
                let place = path == nil ? "" : " after the attribute"
                throw TemplateFault(line, "the argument of \(name)\(place) must be the name of a supported test")
            }
            testName = String(decoding: name, as: UTF8.self)
        }
        var results: [TemplateValue] = []
        for item in try items(of: input, line) {
            let value = try path.map { path throws(TemplateFault) in try attribute(at: path, of: item, line) } ?? item
            let holds = try testName.map { name throws(TemplateFault) in try test(name, value, rest) } ?? value.isTrue
            if holds == name.hasPrefix("select") { results.append(item) }
        }
        return results
    }
}
