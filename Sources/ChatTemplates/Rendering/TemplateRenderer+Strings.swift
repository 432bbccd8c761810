/// Methods of strings.
extension TemplateRenderer {
    static let methods: Set = [
        "capitalize", "count", "endswith", "find", "join", "lower", "lstrip", "removeprefix", "removesuffix", "replace",
        "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper",
    ]

    static let unknownMethods: Set = [
        "casefold", "center", "encode", "expandtabs", "format", "format_map", "index", "isalnum", "isalpha", "isascii",
        "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper", "ljust",
        "maketrans", "partition", "rfind", "rindex", "rjust", "rpartition", "swapcase", "translate", "zfill",
    ]

    func method(
        _ name: String, of text: [UInt8], _ arguments: TemplateCallArguments
    ) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        try budget.spend(bytes: text.count, line)
        switch name {
        case "strip", "lstrip", "rstrip":
            let characters = try arguments.bound(to: ["chars"], of: name)[0].string(name, line)
            return .string(PythonText.trimmed(text, of: characters, left: name != "rstrip", right: name != "lstrip"))
        case "upper", "lower", "capitalize", "title":
            try arguments.none(of: name)
            return .string(try cased(name, text, line) { !Self.isLetter($0) })
        case "startswith", "endswith": return .bool(try touches(name, text, arguments))
        case "removeprefix", "removesuffix":
            let part = try part(of: name, arguments)
            let isThere = name == "removeprefix" ? text.starts(with: part) : text.reversed().starts(with: part.reversed())
            guard isThere else { return .string(text) }
            return .string(Array(name == "removeprefix" ? text.dropFirst(part.count) : text.dropLast(part.count)))
        case "split", "rsplit": return try split(name, text, arguments)
        case "splitlines":
            try arguments.none(of: name)
            return .sequence(TemplateSequence(PythonText.lines(text).map { .string($0) }))
        case "replace": return .string(try replaced(text, arguments.bound(to: ["old", "new", "count"], of: name), line))
        case "join": return .string(try joined(try items(of: joinedValue(arguments), line), by: text, onlyText: true, line))
        case "find":
            let part = try part(of: name, arguments)
            guard !part.isEmpty else { return .integer(0) }
            let place = PythonText.places(of: part, in: text, most: 1).first
            return .integer(place.map { PythonText.characterCount(Array(text[..<$0])) } ?? -1)
        default:
            let part = try part(of: name, arguments)
            guard !part.isEmpty else { throw TemplateFault(line, "count takes a string of at least one character here") }
            return .integer(PythonText.places(of: part, in: text).count)
        }
    }

    private static func isLetter(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) }

    /// The one string that a method takes.
    private func part(of name: String, _ arguments: TemplateCallArguments) throws(TemplateFault) -> [UInt8] {
        guard let part = try arguments.bound(to: ["part"], of: name)[0].string(name, arguments.line) else {
            throw TemplateFault(arguments.line, "\(name) takes a string")
        }
        return part
    }

    private func joinedValue(_ arguments: TemplateCallArguments) throws(TemplateFault) -> TemplateValue {
        guard let value = try arguments.bound(to: ["items"], of: "join")[0] else {
            throw TemplateFault(arguments.line, "join takes items")
        }
        return value
    }

    private func touches(
        _ name: String, _ text: [UInt8], _ arguments: TemplateCallArguments
    ) throws(TemplateFault) -> Bool {
        let line = arguments.line
        let given = try arguments.bound(to: ["part"], of: name)[0] ?? .none
        var parts = [given]
        if case .sequence(let sequence) = given, sequence.kind == .tuple { parts = sequence.items }
        for part in parts {
            guard case .string(let part) = part else {
                throw TemplateFault(line, "\(name) takes a string, and this is \(part.kind)")
            }
            if name == "startswith" ? text.starts(with: part) : text.reversed().starts(with: part.reversed()) { return true }
        }
        return false
    }

    private func split(
        _ name: String, _ text: [UInt8], _ arguments: TemplateCallArguments
    ) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        let values = try arguments.bound(to: ["sep", "maxsplit"], of: name)
        let most = try values[1].integer(name, line) ?? -1
        let parts: [[UInt8]]
        if let separator = try values[0].string(name, line) {
            guard !separator.isEmpty else { throw TemplateFault(line, "\(name) takes a separator of at least one character") }
            parts =
                name == "split"
                ? PythonText.split(text, by: separator, most: most < 0 ? .max : most)
                : PythonText.splitFromRight(text, by: separator, most: most < 0 ? .max : most)
        } else {
            guard most < 0 else { throw TemplateFault(line, "\(name) with maxsplit takes a separator here") }
            parts = PythonText.words(text)
        }
        try budget.spend(parts.count, line)
        return .sequence(TemplateSequence(parts.map { .string($0) }))
    }

    /// - Parameter values: old, new, and how often.
    func replaced(_ text: [UInt8], _ values: [TemplateValue?], _ line: Int) throws(TemplateFault) -> [UInt8] {
        guard let old = try values[0].string("replace", line), let new = try values[1].string("replace", line) else {
            throw TemplateFault(line, "replace takes two strings")
        }
        guard !old.isEmpty else { throw TemplateFault(line, "replace takes a string of at least one character") }
        let most = try values[2].integer("replace", line) ?? -1
        let count = PythonText.places(of: old, in: text, most: most < 0 ? .max : most).count
        let (added, isTooMuch) = count.multipliedReportingOverflow(by: new.count)
        try budget.spend(bytes: isTooMuch ? .max : text.count + added, line)
        return PythonText.replace(text, old, new, most: most < 0 ? .max : most)
    }

    /// - Parameter onlyText: other items are refused, not printed.
    func joined(
        _ items: [TemplateValue], by separator: [UInt8], onlyText: Bool, _ line: Int
    ) throws(TemplateFault) -> [UInt8] {
        var text: [UInt8] = []
        for (index, item) in items.enumerated() {
            if onlyText {
                guard case .string = item else {
                    throw TemplateFault(line, "join of a string takes strings, and this is \(item.kind)")
                }
            }
            if index > 0 {
                try budget.spend(bytes: separator.count, line)
                text += separator
            }
            text += try self.text(of: item, line)
        }
        return text
    }

    /// - Parameter isWordBreak: for `title`.
    func cased(
        _ name: String, _ text: [UInt8], _ line: Int, isWordBreak: (UInt8) -> Bool
    ) throws(TemplateFault) -> [UInt8] {
        try budget.spend(bytes: 4 * text.count, line)
        let result =
            switch name {
            case "upper": PythonText.upper(text)
            case "lower": PythonText.lower(text)
            case "capitalize": PythonText.capitalized(text)
            default: PythonText.titled(text, isWordBreak: isWordBreak)
            }
        guard let result else { throw TemplateFault(line, "\(name) of such letters is not supported") }
        return result
    }
}
