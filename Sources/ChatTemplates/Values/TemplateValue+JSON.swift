internal import Support

extension TemplateValue {
    init(_ json: JSONValue) {
        switch json {
        case .null: self = .none
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .integer(value)
        case .double(let value): self = .float(value)
        case .string(let text): self.init(text)
        case .array(let elements): self = .sequence(TemplateSequence(elements.map { TemplateValue($0) }))
        case .object(let object):
            var mapping = TemplateMapping()
            for (key, value) in object.members { mapping.set(Array(key.utf8), TemplateValue(value)) }
            self = .mapping(mapping)
        }
    }
}

/// `json.dumps(value, ensure_ascii=False)`, as transformers' filter `tojson` writes it.
struct TemplateJSON {
    /// Blanks for each level; nil for one line.
    let indent: Int?
    let sortsKeys: Bool
    private(set) var text: [UInt8] = []

    init(indent: Int?, sortsKeys: Bool) { (self.indent, self.sortsKeys) = (indent, sortsKeys) }

    /// - Returns: false where there is no JSON for the value.
    mutating func write(_ value: TemplateValue, level: Int = 0) -> Bool {
        switch value {
        case .none: append("null")
        case .bool(let value): append(value ? "true" : "false")
        case .integer(let value): append(String(value))
        case .float(let value):
            guard value.isFinite else { return false }
            append(value.pythonText)
        case .string(let bytes): write(bytes)
        case .sequence(let sequence):
            guard sequence.kind == .list || sequence.kind == .tuple else { return false }
            append("[")
            for (index, item) in sequence.items.enumerated() {
                separate(index, level + 1)
                guard write(item, level: level + 1) else { return false }
            }
            close("]", isEmpty: sequence.items.isEmpty, level)
        case .mapping(let mapping):
            let entries =
                sortsKeys ? mapping.entries.sorted { $0.key.lexicographicallyPrecedes($1.key) } : mapping.entries
            append("{")
            for (index, entry) in entries.enumerated() {
                separate(index, level + 1)
                write(entry.key)
                append(": ")
                guard write(entry.value, level: level + 1) else { return false }
            }
            close("}", isEmpty: mapping.count == 0, level)
        case .undefined, .iterator, .namespace, .loop, .function: return false
        }
        return true
    }

    private mutating func append(_ string: String) { text += Array(string.utf8) }

    private mutating func separate(_ index: Int, _ level: Int) {
        if index > 0 { append(indent == nil ? ", " : ",") }
        breakLine(level)
    }

    private mutating func close(_ bracket: String, isEmpty: Bool, _ level: Int) {
        if !isEmpty { breakLine(level) }
        append(bracket)
    }

    private mutating func breakLine(_ level: Int) {
        guard let indent else { return }
        append("\n" + String(repeating: " ", count: indent * level))
    }

    private mutating func write(_ bytes: [UInt8]) {
        append("\"")
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\""): append("\\\"")
            case UInt8(ascii: "\\"): append("\\\\")
            case 10: append("\\n")
            case 13: append("\\r")
            case 9: append("\\t")
            case 8: append("\\b")
            case 12: append("\\f")
            case 0..<0x20: append("\\u00" + (byte < 16 ? "0" : "") + String(byte, radix: 16))
            default: text.append(byte)
            }
        }
        append("\"")
    }
}
