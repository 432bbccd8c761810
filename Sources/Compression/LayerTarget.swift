internal import HuggingFace
internal import Support

/// A name in a configuration of compressed-tensors: a layer's own, the class of linear layers or of embeddings, or `re:` and a
/// regular expression, see ``NameExpression``.
struct LayerTarget {
    let text: String
    let kind: Kind
    private let expression: NameExpression?

    /// Kinds in the order in which compressed-tensors looks for a layer's group.
    enum Kind: Comparable {
        case name, expression, moduleClass
    }

    /// The class of a module. The raw value is its name in `targets`.
    enum ModuleClass: String {
        case linear = "Linear", embedding = "Embedding"
        /// A module without integers, which has no name here.
        case other = ""

        static let named = [linear, embedding]
    }

    /// - Throws: ``NameExpression/Refusal`` for an unsupported expression.
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

    /// - Parameter module: the class of the module with this name.
    func matches(_ name: String, _ module: ModuleClass) -> Bool {
        switch kind {
        case .name: text == name
        case .expression: expression?.matches(name) ?? false
        case .moduleClass: text == module.rawValue
        }
    }

    /// Names, and states of expressions, that a configuration may have in all, so that it is checked within seconds.
    static let budget = 8 * NameExpression.limit

    /// A key's names, one or a list.
    ///
    /// - Parameter budget: reduced by 1 for each name, and by the states of each expression.
    /// - Throws: `FileError` for an unsupported regular expression, with the place and the reason, and where nothing is left
    ///   of the budget.
    static func list(_ keys: HFConfig, _ key: String, _ budget: inout Int) throws(FileError) -> [LayerTarget] {
        let texts = if let one = keys.value(key)?.string { [one] } else { try keys.strings(key, default: []) }
        var result: [LayerTarget] = []
        for text in texts {
            do throws(NameExpression.Refusal) {
                let target = try LayerTarget(text)
                budget -= target.expression?.size ?? 1
                result.append(target)
            } catch {
                let place = error.position + prefix.count
                throw keys.failure(
                    key,
                    "'\(text.prefix(100))': character \(place): \(error.problem); supported are names, character classes, "
                        + "groups, alternatives and counts")
            }
            guard budget >= 0 else {
                throw keys.failure(
                    key, "has more than \(Self.budget) names and states of regular expressions; give fewer or simpler ones")
            }
        }
        return result
    }
}
