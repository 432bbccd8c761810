/// The values that a function, a filter or a test is called with.
struct TemplateCallArguments {
    let line: Int
    var unnamed: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    init(line: Int) { self.line = line }

    /// The values of these parameters; nil for one that is not given.
    ///
    /// - Throws: ``TemplateFault`` for more values than parameters, and for other names.
    func bound(to parameters: [String], of name: String) throws(TemplateFault) -> [TemplateValue?] {
        guard unnamed.count <= parameters.count else {
            throw TemplateFault(line, "\(name) takes \(parameters.count) arguments at most here")
        }
        var values: [TemplateValue?] = unnamed.map { $0 }
        values += Array(repeating: nil, count: parameters.count - unnamed.count)
        for argument in named {
            guard let place = parameters.firstIndex(of: argument.name), values[place] == nil else {
                throw TemplateFault(line, "\(name) does not take the argument \(argument.name) here")
            }
            values[place] = argument.value
        }
        return values
    }

    func none(of name: String) throws(TemplateFault) { _ = try bound(to: [], of: name) }
}

extension Optional<TemplateValue> {
    /// The string that is asked for; nil where no value is given, or none.
    func string(_ what: String, _ line: Int) throws(TemplateFault) -> [UInt8]? {
        switch self {
        case nil, .some(.none): return nil
        case .string(let text): return text
        case .some(let value): throw TemplateFault(line, "\(what) takes a string, and this is \(value.kind)")
        }
    }

    func integer(_ what: String, _ line: Int) throws(TemplateFault) -> Int? {
        switch self {
        case nil, .some(.none): return nil
        case .some(let value):
            guard let integer = value.integer else {
                throw TemplateFault(line, "\(what) takes an integer, and this is \(value.kind)")
            }
            return integer
        }
    }
}
