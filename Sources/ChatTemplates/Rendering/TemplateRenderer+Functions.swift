internal import Glibc

/// Functions and methods.
extension TemplateRenderer {
    /// What transformers and Jinja give to every template.
    static let globals = ["range", "namespace", "dict", "raise_exception", "strftime_now"]

    func call(_ value: TemplateValue, _ arguments: TemplateCallArguments) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        guard case .function(let function) = value else {
            if case .undefined(let name) = value { throw TemplateFault(line, "\(name) is undefined, and cannot be called") }
            throw TemplateFault(line, "\(value.kind) cannot be called")
        }
        switch function {
        case .global(let name): return try global(name, arguments)
        case .method(let name, .string(let text)): return try method(name, of: text, arguments)
        case .method(let name, .mapping(let mapping)): return try method(name, of: mapping, arguments)
        case .method(let name, _): throw TemplateFault(line, "the method \(name) is not supported")
        case .macro(let macro, let scope): return try call(macro, in: scope, arguments)
        case .cycle(let loop):
            guard arguments.named.isEmpty, !arguments.unnamed.isEmpty else {
                throw TemplateFault(line, "loop.cycle takes values without names")
            }
            return arguments.unnamed[loop.index % arguments.unnamed.count]
        }
    }

    private func global(_ name: String, _ arguments: TemplateCallArguments) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        switch name {
        case "range": return try range(arguments)
        case "namespace":
            let namespace = TemplateNamespace()
            namespace.values = try mapping(name, arguments)
            for entry in namespace.values.entries where entry.key.first == UInt8(ascii: "_") {
                throw TemplateFault(line, "the member \(String(decoding: entry.key, as: UTF8.self)) cannot be set")
            }
            return .namespace(namespace)
        case "dict": return .mapping(try mapping(name, arguments))
        case "raise_exception":
            let message = try arguments.bound(to: ["message"], of: name)[0] ?? .undefined("message")
            let text = String(decoding: message.text ?? [], as: UTF8.self)
            throw TemplateFault(line, "the template refuses the conversation: \(text)", isRefusal: true)
        default:
            guard let format = try arguments.bound(to: ["format"], of: name)[0].string(name, line) else {
                throw TemplateFault(line, "strftime_now takes a format")
            }
            return .string(try time(format, line))
        }
    }

    private func range(_ arguments: TemplateCallArguments) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        guard arguments.named.isEmpty, (1...3).contains(arguments.unnamed.count) else {
            throw TemplateFault(line, "range takes one to three integers")
        }
        var bounds: [Int] = []
        for value in arguments.unnamed {
            guard let bound = value.integer else {
                throw TemplateFault(line, "range takes integers, and this is \(value.kind)")
            }
            bounds.append(bound)
        }
        if bounds.count == 1 { bounds.insert(0, at: 0) }
        let step = bounds.count == 3 ? bounds[2] : 1
        guard step != 0 else { throw TemplateFault(line, "the step of a range is 0") }
        // Jinja's sandbox allows as many.
        let limit = 100_000
        let (distance, isTooFar) = bounds[1].subtractingReportingOverflow(bounds[0])
        guard !isTooFar, step != .min, abs(Double(distance) / Double(step)) <= Double(limit) else {
            throw TemplateFault(line, "a range of more than \(limit) numbers")
        }
        // The distance's size, less one: adding a step to it may overflow.
        let count = distance.signum() == step.signum() ? (distance - step.signum()) / step + 1 : 0
        try budget.spend(count, line)
        return .sequence(TemplateSequence((0..<count).map { .integer(bounds[0] + $0 * step) }, .range))
    }

    private func mapping(_ name: String, _ arguments: TemplateCallArguments) throws(TemplateFault) -> TemplateMapping {
        var mapping = TemplateMapping()
        if let first = arguments.unnamed.first {
            guard arguments.unnamed.count == 1, case .mapping(let given) = first else {
                throw TemplateFault(arguments.line, "\(name) takes values with names here, or one mapping")
            }
            try budget.spend(given.count, arguments.line)
            mapping = given
        }
        for argument in arguments.named {
            try keep(argument.value, arguments.line)
            mapping.set(Array(argument.name.utf8), argument.value)
        }
        return mapping
    }

    /// The time now, in the time zone of the machine.
    private func time(_ format: [UInt8], _ line: Int) throws(TemplateFault) -> [UInt8] {
        guard !format.isEmpty else { return [] }
        guard format.count <= 256, !format.contains(0) else { throw TemplateFault(line, "strftime_now takes a shorter format") }
        var (seconds, parts) = (time_t(now), tm())
        localtime_r(&seconds, &parts)
        var buffer = [CChar](repeating: 0, count: 4096)
        let length = strftime(&buffer, buffer.count, String(decoding: format, as: UTF8.self), &parts)
        let text = String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try budget.spend(bytes: length, line)
        return Array(text.utf8)
    }

    private func method(
        _ name: String, of mapping: TemplateMapping, _ arguments: TemplateCallArguments
    ) throws(TemplateFault) -> TemplateValue {
        let line = arguments.line
        if name == "get" {
            let values = try arguments.bound(to: ["key", "default"], of: name)
            guard arguments.named.isEmpty, let key = values[0] else { throw TemplateFault(line, "get takes a key") }
            switch key {
            case .string(let key): return mapping[key] ?? values[1] ?? .none
            case .undefined, .none, .bool, .integer, .float: return values[1] ?? .none
            default: throw TemplateFault(line, "\(key.kind) cannot be a key of a mapping")
            }
        }
        try arguments.none(of: name)
        try budget.spend(mapping.count, line)
        switch name {
        case "keys": return .sequence(TemplateSequence(mapping.entries.map { .string($0.key) }, .view))
        case "values": return .sequence(TemplateSequence(mapping.entries.map(\.value), .view))
        default: return .sequence(TemplateSequence(Self.pairs(mapping), .view))
        }
    }

    static func pairs(_ mapping: TemplateMapping) -> [TemplateValue] {
        mapping.entries.map { .sequence(TemplateSequence([.string($0.key), $0.value], .tuple)) }
    }
}
