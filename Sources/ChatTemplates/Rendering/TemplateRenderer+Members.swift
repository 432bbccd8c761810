/// Members and elements of values, as Jinja's sandbox finds them.
extension TemplateRenderer {
    /// `value.name`.
    func attribute(_ name: String, of value: TemplateValue, _ line: Int) throws(TemplateFault) -> TemplateValue {
        guard !name.hasPrefix("_") else { throw TemplateFault(line, "the member \(name) is not for templates") }
        if let member = try member(name, of: value, line) { return member }
        if case .mapping(let mapping) = value, let member = mapping[Array(name.utf8)] { return member }
        return .undefined(name)
    }

    /// `value[place]`.
    func element(_ place: TemplateValue, of value: TemplateValue, _ line: Int) throws(TemplateFault) -> TemplateValue {
        if case .mapping(let mapping) = value, case .string(let key) = place, let element = mapping[key] { return element }
        if let index = place.integer {
            if let element = try element(index, of: value, line) { return element }
            if case .undefined(let name) = value { throw TemplateFault(line, "\(name) is undefined, and has no elements") }
            return .undefined("element \(index)")
        }
        guard case .string(let key) = place else {
            if case .undefined(let name) = value { throw TemplateFault(line, "\(name) is undefined, and has no elements") }
            return .undefined("an element")
        }
        let name = String(decoding: key, as: UTF8.self)
        guard !name.hasPrefix("_") else { throw TemplateFault(line, "the member \(name) is not for templates") }
        return try member(name, of: value, line) ?? .undefined(name)
    }

    private func element(_ index: Int, of value: TemplateValue, _ line: Int) throws(TemplateFault) -> TemplateValue? {
        func place(_ count: Int) -> Int? {
            let place = index < 0 ? index.addingReportingOverflow(count).partialValue : index
            return (0..<count).contains(place) ? place : nil
        }
        switch value {
        case .sequence(let sequence) where sequence.kind != .view: return place(sequence.items.count).map { sequence.items[$0] }
        case .string(let text):
            try budget.spend(bytes: text.count, line)
            let characters = PythonText.characters(text)
            return place(characters.count).map { .string(characters[$0]) }
        default: return nil
        }
    }

    /// Methods that Python's mappings and lists have, and what numbers have besides.
    private static let mappingMethods = ["get", "items", "keys", "values"]
    private static let unknownMembers: Set = [
        "pop", "popitem", "update", "copy", "clear", "setdefault", "fromkeys",
        "append", "extend", "insert", "remove", "index", "count", "sort", "reverse",
        "real", "imag", "numerator", "denominator", "conjugate", "bit_length", "bit_count", "to_bytes", "from_bytes",
        "as_integer_ratio", "is_integer", "hex", "fromhex",
    ]

    /// A member that is no key of a mapping; nil where there is none.
    private func member(_ name: String, of value: TemplateValue, _ line: Int) throws(TemplateFault) -> TemplateValue? {
        switch value {
        case .undefined(let owner): throw TemplateFault(line, "\(owner) is undefined, and has no member \(name)")
        case .namespace(let namespace): return namespace.values[Array(name.utf8)]
        case .loop(let loop): return try member(name, of: loop, line)
        case .mapping where Self.mappingMethods.contains(name): return .function(.method(name, of: value))
        case .string where Self.methods.contains(name): return .function(.method(name, of: value))
        case .string where Self.unknownMethods.contains(name):
            throw TemplateFault(line, "the method '\(name)' of strings is not supported")
        case .string: return nil
        case .function: throw TemplateFault(line, "members of functions are not supported")
        case .mapping, .sequence, .iterator, .none, .bool, .integer, .float:
            guard !Self.unknownMembers.contains(name) else {
                throw TemplateFault(line, "the member '\(name)' of \(value.kind) is not supported")
            }
            return nil
        }
    }

    private func member(_ name: String, of loop: TemplateLoop, _ line: Int) throws(TemplateFault) -> TemplateValue? {
        let (index, count) = (loop.index, loop.items.count)
        switch name {
        case "index": return .integer(index + 1)
        case "index0": return .integer(index)
        case "revindex": return .integer(count - index)
        case "revindex0": return .integer(count - index - 1)
        case "first": return .bool(index == 0)
        case "last": return .bool(index == count - 1)
        case "length": return .integer(count)
        case "previtem": return index > 0 ? loop.items[index - 1] : .undefined("the item before the first")
        case "nextitem": return index + 1 < count ? loop.items[index + 1] : .undefined("the item after the last")
        case "cycle": return .function(.cycle(loop))
        case "changed", "depth", "depth0": throw TemplateFault(line, "loop.\(name) is not supported")
        default: return nil
        }
    }
}
