internal import Support
internal import Yams

/// A YAML file as a flat list of keys and texts: `training: {steps: 3}` gives `training.steps` = `3`.
///
/// Only mappings of plain values are accepted. What YAML has beyond that is refused, since a few hundred bytes of anchors and
/// aliases can stand for hundreds of megabytes.
struct ConfigurationDocument {
    private static let sizeLimit = 1 << 20
    private static let depthLimit = 16
    /// Where something could be an anchor, more aliases than this are refused before parsing: k^d copies need k·d aliases, and
    /// 8 of them make less than 20. Without an anchor no alias stands for anything; patterns of layers begin with asterisks.
    private static let aliasLimit = 8

    private(set) var settings: GivenSettings = [:]
    private let name: String

    /// Reads a file.
    ///
    /// - Throws: ``ConfigurationError`` where it is no configuration, also no file or too large a one; `FileError` where
    ///   it is
    ///   missing or cannot be read.
    init(file path: String) throws {
        try self.init(Self.text(of: path), name: path)
    }

    /// - Throws: as ``init(file:)``.
    static func text(of path: String) throws -> String {
        let bytes: [UInt8]
        do throws(FileError) {
            bytes = try InputFile.contents(of: path, limit: Self.sizeLimit)
        } catch {
            throw error.kind == .malformed ? ConfigurationError(path, error.problem) : error
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw ConfigurationError(path, "is not UTF-8 text") }
        return text
    }

    /// - Parameter name: what errors call the document.
    init(_ text: String, name: String) throws(ConfigurationError) {
        self.name = name
        let document = self
        settings = try Self.withRoot(of: text, name: name) { root throws(ConfigurationError) in
            var document = document
            if let root { try document.collect(root, path: "", depth: 1) }
            return document.settings
        }
    }

    /// Gives a function the mapping that a text holds, nil for an empty text.
    static func withRoot<Result>(
        of text: String, name: String, _ body: (Node?) throws(ConfigurationError) -> Result
    ) throws(ConfigurationError) -> Result {
        guard Self.possibleMarks("&", in: text) == 0 || Self.possibleMarks("*", in: text) <= Self.aliasLimit else {
            throw ConfigurationError(name, "holds aliases (*name), which are not accepted; quote a text that begins with '*'")
        }
        // Every untagged scalar gets this tag, so that any other one was written in the file.
        guard let untagged = try? Resolver.Rule(Self.untagged, "(?s)^.*$") else { preconditionFailure("a constant pattern") }
        do {
            // The nodes refer to their anchors weakly: the parser has to outlive the walk.
            let parser = try Parser(yaml: text, resolver: Resolver.basic.appending(untagged), encoding: .utf8)
            return try withExtendedLifetime(parser) {
                guard let root = try parser.singleRoot() else { return try body(nil) }
                if case .scalar(let scalar) = root, scalar.string.isEmpty, scalar.tag.description.isEmpty, scalar.anchor == nil
                {
                    return try body(nil)
                }
                guard case .mapping = root else {
                    let line = root.mark.map { ":\($0.line)" } ?? ""
                    throw ConfigurationError(name + line, "a configuration must be a mapping of keys to values")
                }
                return try body(root)
            }
        } catch let error as ConfigurationError {
            throw error
        } catch let error as YamlError {
            throw ConfigurationError(name + Self.line(of: error), Self.problem(of: error))
        } catch {
            throw ConfigurationError(name, "\(error)")
        }
    }

    fileprivate static let untagged = Tag.Name(rawValue: "untagged")

    /// Where an anchor (`&`) or an alias (`*`) could begin: after a blank, an indicator, or what may be one of Unicode's line
    /// breaks, and before a character of a name.
    private static func possibleMarks(_ mark: Unicode.Scalar, in text: String) -> Int {
        var count = 0
        var (before, previous) = (UInt8(ascii: " "), UInt8(ascii: "\n"))
        for byte in text.utf8 {
            let isMark = previous == UInt8(ascii: mark) && (before >= 0x80 || " \t\r\n[{,:?".utf8.contains(before))
            if isMark, Self.isInNames(byte) { count += 1 }
            (before, previous) = (previous, byte)
        }
        return count
    }

    /// Whether libyaml takes it as part of an anchor's name.
    private static func isInNames(_ byte: UInt8) -> Bool {
        let character = Unicode.Scalar(byte)
        return character.properties.isAlphabetic || ("0"..."9").contains(character) || "_-".unicodeScalars.contains(character)
    }

    private func failure(_ node: Node, _ problem: String) -> ConfigurationError {
        ConfigurationError(name + (node.mark.map { ":\($0.line)" } ?? ""), problem)
    }

    /// Adds the values below a node, which stands at `path`.
    private mutating func collect(_ node: Node, path: String, depth: Int) throws(ConfigurationError) {
        guard depth <= Self.depthLimit else { throw failure(node, "is nested deeper than \(Self.depthLimit) levels") }
        if let mark = node.refusedMark { throw failure(node, mark) }
        switch node {
        case .scalar(let scalar):
            let given = GivenSetting(text: scalar.string, place: name + (node.mark.map { ":\($0.line)" } ?? ""))
            guard settings.updateValue(given, forKey: path) == nil else {
                throw failure(node, "the key '\(path)' is given twice")
            }
        case .mapping(let mapping):
            for (key, value) in mapping {
                guard case .scalar(let scalar) = key, key.refusedMark == nil else {
                    throw failure(key, "a key must be a plain word, without anchor, alias or tag")
                }
                try collect(value, path: path.isEmpty ? scalar.string : "\(path).\(scalar.string)", depth: depth + 1)
            }
        case .sequence, .alias: throw failure(node, "'\(path)' takes one value, not a list")
        }
    }

    // MARK: - Yams' errors on one line

    private static func line(of error: YamlError) -> String {
        switch error {
        case .scanner(_, _, let mark, _), .parser(_, _, let mark, _), .composer(_, _, let mark, _): ":\(mark.line)"
        case .duplicatedKeysInMapping(_, let context): ":\(context.mark.line)"
        default: ""
        }
    }

    private static func problem(of error: YamlError) -> String {
        switch error {
        case .scanner(let context, let problem, _, _), .parser(let context, let problem, _, _),
            .composer(let context, let problem, _, _):
            "is not valid YAML: " + (context.map { "\($0.text), " } ?? "") + problem
        case .reader(let problem, _, _, _): "is not valid YAML: \(problem)"
        case .duplicatedKeysInMapping(let duplicates, _):
            "the key '\(duplicates.first ?? "")' is given twice"
        default: "is not valid YAML"
        }
    }
}

extension Node {
    /// What the node itself has of YAML beyond values, lists and mappings, as an error says it; nil where it has nothing.
    var refusedMark: String? {
        guard anchor == nil else { return "anchors (&name) and aliases (*name) are not accepted; write the value out" }
        switch self {
        case .scalar(let scalar):
            // Yams itself gives texts between quotes the tag of a text.
            let isText = scalar.style != .plain && scalar.tag.description == Tag.Name.str.rawValue
            return isText ? nil : Self.refused(scalar.tag)
        case .mapping(let mapping): return Self.refused(mapping.tag)
        case .sequence(let sequence): return Self.refused(sequence.tag)
        case .alias: return "aliases (*name) are not accepted; write the value out"
        }
    }

    /// A tag not written in the file is empty, or a resolved one when Yams has compared the node.
    private static func refused(_ tag: Tag) -> String? {
        let isWritten = !tag.description.isEmpty && tag.description != ConfigurationDocument.untagged.rawValue
        return isWritten ? "tags (\(tag.description)) are not accepted; leave it out" : nil
    }
}
