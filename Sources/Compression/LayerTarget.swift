internal import HuggingFace
internal import Support

/// A name in a configuration of compressed-tensors: a layer's own, `Linear` for all linear layers, or `re:` and a regular
/// expression.
///
/// Of regular expressions it knows names, `.`, `.*`, `\.`, `^` at the beginning and `$` at the end, which are those that
/// programs write; they are matched in time proportional to both lengths' product.
struct LayerTarget {
    /// nil for `Linear`.
    private let elements: [Wildcard]?
    let text: String
    let kind: Kind

    /// In the order in which compressed-tensors looks for the group of a layer.
    enum Kind: Comparable {
        case name, expression, linears
    }

    /// - Returns: nil for a regular expression with anything else in it.
    init?(_ text: String) {
        self.text = text
        guard text.hasPrefix("re:") else {
            elements = text == Self.linears ? nil : text.utf8.map(Wildcard.byte)
            kind = text == Self.linears ? .linears : .name
            return
        }
        guard let elements = Self.elements(of: Array(text.utf8.dropFirst(3))) else { return nil }
        (self.elements, kind) = (elements, .expression)
    }

    private static let linears = "Linear"

    private static func elements(of pattern: [UInt8]) -> [Wildcard]? {
        var (result, bytes) = ([Wildcard](), pattern[...])
        if bytes.first == UInt8(ascii: "^") { bytes.removeFirst() }
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "."):
                let repeats = bytes.first == UInt8(ascii: "*")
                if repeats { bytes.removeFirst() }
                result.append(repeats ? .anything : .anyByte)
            case UInt8(ascii: "\\"):
                guard bytes.popFirst() == UInt8(ascii: ".") else { return nil }
                result.append(.byte(UInt8(ascii: ".")))
            case UInt8(ascii: "$"): return bytes.isEmpty ? result : nil
            case UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"):
                result.append(.byte(byte))
            default: return nil
            }
        }
        // Without an end it is the beginning of a name.
        return result + [.anything]
    }

    /// - Parameter isLinear: whether the module of this name is a linear layer.
    func matches(_ name: String, isLinear: Bool) -> Bool {
        elements?.matches(name) ?? isLinear
    }

    /// A key's names, one or a list.
    ///
    /// - Throws: ``FileError`` for a regular expression that it does not know.
    static func list(_ keys: HFConfig, _ key: String) throws(FileError) -> [LayerTarget] {
        let texts = if let one = keys.value(key)?.string { [one] } else { try keys.strings(key, default: []) }
        var result: [LayerTarget] = []
        for text in texts {
            guard let target = LayerTarget(text) else {
                throw keys.failure(key, "'\(text)' is a regular expression of more than names, ., .* and $")
            }
            result.append(target)
        }
        return result
    }
}
