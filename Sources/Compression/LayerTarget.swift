internal import HuggingFace
internal import Support

/// A name in a configuration of compressed-tensors: a layer's own, the class of linear layers or of embeddings, or `re:` and a
/// regular expression, see ``NameExpression``.
struct LayerTarget {
    let text: String
    let kind: Kind
    private let expression: NameExpression?

    /// In the order in which compressed-tensors looks for the group of a layer.
    enum Kind: Comparable {
        case name, expression, moduleClass
    }

    /// What a module is, by its raw value what `targets` may call it.
    enum ModuleClass: String {
        case linear = "Linear", embedding = "Embedding"
        /// Has no integers, and no name here.
        case other = ""

        static let named = [linear, embedding]
    }

    /// - Throws: ``NameExpression/Refusal`` for an expression that is not read.
    init(_ text: String) throws(NameExpression.Refusal) {
        self.text = text
        guard text.hasPrefix(Self.prefix) else {
            let isClass = ModuleClass.named.contains { $0.rawValue == text }
            (kind, expression) = (isClass ? .moduleClass : .name, nil)
            return
        }
        (kind, expression) = (.expression, try NameExpression(String(text.dropFirst(Self.prefix.count))))
    }

    private static let prefix = "re:"

    /// - Parameter module: what the module of this name is.
    func matches(_ name: String, _ module: ModuleClass) -> Bool {
        switch kind {
        case .name: text == name
        case .expression: expression?.matches(name) ?? false
        case .moduleClass: text == module.rawValue
        }
    }

    /// States that all expressions of a configuration may have together, so that it is checked in seconds at most.
    static let budget = 8 * NameExpression.limit

    /// A key's names, one or a list.
    ///
    /// - Parameter budget: less what these expressions take.
    /// - Throws: `FileError` for a regular expression that is not read, with the place and the reason.
    static func list(_ keys: HFConfig, _ key: String, _ budget: inout Int) throws(FileError) -> [LayerTarget] {
        let texts = if let one = keys.value(key)?.string { [one] } else { try keys.strings(key, default: []) }
        var result: [LayerTarget] = []
        for text in texts {
            do throws(NameExpression.Refusal) {
                let target = try LayerTarget(text)
                budget -= target.expression?.size ?? 0
                result.append(target)
            } catch {
                let place = error.position + prefix.count
                throw keys.failure(
                    key,
                    "'\(text.prefix(100))' has at its character \(place) \(error.problem); names, classes, groups, "
                        + "alternatives and counts are read")
            }
            guard budget >= 0 else {
                throw keys.failure(key, "has more regular expressions than are read (\(Self.budget) states of them in all)")
            }
        }
        return result
    }
}
