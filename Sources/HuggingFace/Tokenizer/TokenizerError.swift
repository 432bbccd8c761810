internal import Support

/// Why a tokenizer.json was refused, and the key it is about; the reader of the file adds the path.
struct TokenizerError: Error, Equatable {
    let key: String
    let problem: String
}

/// An object inside tokenizer.json that knows its place, so that errors can name it.
struct TokenizerSection {
    /// For example `pre_tokenizer.pretokenizers[1]`.
    let key: String
    let object: JSONObject

    init(_ value: JSONValue, at key: String) throws(TokenizerError) {
        guard let object = value.object else { throw TokenizerError(key: key, problem: "is not an object") }
        self.key = key
        self.object = object
    }

    /// The name of a member, from the root of the document.
    func path(_ name: String) -> String { key.isEmpty ? name : "\(key).\(name)" }

    func failure(_ name: String, _ problem: String) -> TokenizerError { TokenizerError(key: path(name), problem: problem) }

    /// A member; nil if it is absent or null.
    subscript(name: String) -> JSONValue? {
        if let value = object[name], value != .null { value } else { nil }
    }

    /// An object, if there is one.
    func section(_ name: String) throws(TokenizerError) -> TokenizerSection? {
        guard let value = self[name] else { return nil }
        return try TokenizerSection(value, at: path(name))
    }

    /// More than any tokenizer in use has of steps that a text goes through, or parts of a template.
    private static let mostSteps = 64

    /// The objects of a list; an absent list is empty.
    func sections(_ name: String, limit: Int = mostSteps) throws(TokenizerError) -> [TokenizerSection] {
        guard let value = self[name] else { return [] }
        guard let list = value.array else { throw failure(name, "is not a list") }
        guard list.count <= limit else { throw failure(name, "has \(list.count) elements; at most \(limit) are accepted") }
        var sections: [TokenizerSection] = []
        for (i, element) in list.enumerated() {
            sections.append(try TokenizerSection(element, at: "\(path(name))[\(i)]"))
        }
        return sections
    }

    /// The steps of a component in order: of a `Sequence` those that `list` names, with those of sequences in it; else the
    /// component itself.
    func steps(_ list: String) throws(TokenizerError) -> [TokenizerSection] {
        guard try type == "Sequence" else { return [self] }
        var steps: [TokenizerSection] = []
        for part in try sections(list) {
            steps += try part.steps(list)
            guard steps.count <= Self.mostSteps else {
                throw failure(list, "has more than \(Self.mostSteps) steps, which are not accepted")
            }
        }
        return steps
    }

    func string(_ name: String) throws(TokenizerError) -> String {
        guard let text = self[name]?.string else { throw failure(name, "is not a string") }
        return text
    }

    func flag(_ name: String, default fallback: Bool) throws(TokenizerError) -> Bool {
        guard let value = self[name] else { return fallback }
        guard let flag = value.bool else { throw failure(name, "is neither true nor false") }
        return flag
    }

    func integer(_ name: String) throws(TokenizerError) -> Int {
        guard let value = self[name]?.integer else { throw failure(name, "is not an integer") }
        return value
    }

    /// Which of a family of components this object describes.
    var type: String { get throws(TokenizerError) { try string("type") } }

    /// The refusal of a component this program does not have.
    func unknownType(_ type: String, known: String) -> TokenizerError {
        failure("type", "\"\(type)\" is not supported; supported are \(known)")
    }
}
