package import Support

/// A `config.json` or `generation_config.json`: every key kept, and typed access whose errors name the file and the key.
package struct HFConfig: Sendable {
    package let path: String
    /// All members, in the file's order; change it to write a changed configuration.
    package var json: JSONObject

    /// Reads a JSON object.
    ///
    /// - Throws: ``FileError`` where the file is missing or something else.
    package init(_ path: String) throws(FileError) {
        let root = try InputFile.json(path)
        guard let json = root.object else { throw FileError(.malformed, path, "is not a JSON object") }
        self.init(json, path: path)
    }

    /// - Parameter path: what errors call it.
    package init(_ json: JSONObject, path: String) {
        self.json = json
        self.path = path
    }

    /// The value of a key; null counts as absent, as in Hugging Face's own files.
    package func value(_ key: String) -> JSONValue? {
        guard let value = json[key], value != .null else { return nil }
        return value
    }

    /// Whether the key is there and not null.
    package func has(_ key: String) -> Bool { value(key) != nil }

    private func typed<Value>(
        _ key: String, _ default: Value?, _ kind: String, _ convert: (JSONValue) -> Value?
    ) throws(FileError) -> Value {
        guard let value = value(key) else {
            guard let `default` else { throw failure(key, "is missing; \(kind) is expected") }
            return `default`
        }
        guard let converted = convert(value) else { throw failure(key, "is not \(kind)") }
        return converted
    }

    /// An error at a key, for checks of the caller's own.
    package func failure(_ key: String, _ problem: String) -> FileError {
        FileError(.malformed, "\(path): \(key)", problem)
    }

    /// An integer.
    ///
    /// - Parameter default: for a key that is absent or null; nil where it must be there. So in all of these.
    /// - Throws: ``FileError`` naming the file and the key.
    package func integer(_ key: String, default: Int? = nil) throws(FileError) -> Int {
        try typed(key, `default`, "an integer", \.integer)
    }

    /// A size: from 1 to 2³¹ − 1, so that products of two cannot overflow.
    package func extent(_ key: String, default: Int? = nil) throws(FileError) -> Int {
        let value = try integer(key, default: `default`)
        guard (1...Int(Int32.max)).contains(value) else { throw failure(key, "\(value) is not between 1 and \(Int32.max)") }
        return value
    }

    /// A number, integers included. Parameters and errors as of ``integer(_:default:)``.
    package func number(_ key: String, default: Double? = nil) throws(FileError) -> Double {
        try typed(key, `default`, "a number", \.number)
    }

    /// `true` or `false`. Parameters and errors as of ``integer(_:default:)``.
    package func bool(_ key: String, default: Bool? = nil) throws(FileError) -> Bool {
        try typed(key, `default`, "true or false", \.bool)
    }

    /// A text. Parameters and errors as of ``integer(_:default:)``.
    package func string(_ key: String, default: String? = nil) throws(FileError) -> String {
        try typed(key, `default`, "a string", \.string)
    }

    /// A list of texts. Parameters and errors as of ``integer(_:default:)``.
    package func strings(_ key: String, default: [String]? = nil) throws(FileError) -> [String] {
        try typed(key, `default`, "a list of strings") { value in
            guard let array = value.array else { return nil }
            let strings = array.compactMap(\.string)
            return strings.count == array.count ? strings : nil
        }
    }

    /// An object below this one; nil if the key is absent.
    package func object(_ key: String) throws(FileError) -> HFConfig? {
        guard has(key) else { return nil }
        return HFConfig(try typed(key, nil, "an object", \.object), path: "\(path): \(key)")
    }

    /// Sets the type of the folder's floats, under the key of transformers 5 (`dtype`) and that of older versions
    /// (`torch_dtype`).
    package mutating func setElementType(_ type: ElementType) {
        for key in ["dtype", "torch_dtype"] { json[key] = .string(type.frameworkName) }
    }

    /// As `transformers` writes it: sorted keys, two blanks, a final newline.
    package var text: String { JSONValue.object(json).text() + "\n" }
}
