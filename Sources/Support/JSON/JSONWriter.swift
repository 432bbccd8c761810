extension JSONValue {
    /// How to lay out a document.
    package enum Layout: Sendable {
        /// One line without blanks.
        case compact
        /// A member per line, two blanks per level, as Hugging Face's own files.
        case indented
    }

    /// The document as UTF-8 text, without a final newline.
    ///
    /// JSON has no number for NaN and infinity: they are written as `null`.
    /// - Parameter sortedKeys: by their bytes; otherwise in the order of insertion.
    package func text(_ layout: Layout = .indented, sortedKeys: Bool = true) -> String {
        var writer = JSONWriter(layout: layout, sortedKeys: sortedKeys)
        writer.write(self, level: 0)
        return writer.text
    }
}

private struct JSONWriter {
    let layout: JSONValue.Layout
    let sortedKeys: Bool
    var text = ""

    mutating func write(_ value: JSONValue, level: Int) {
        switch value {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .double(let value): text += value.isFinite ? value.description : "null"
        case .string(let value): write(value)
        case .array(let elements):
            write(elements, "[", "]", level) { writer, element in writer.write(element, level: level + 1) }
        case .object(let object):
            let members =
                sortedKeys ? object.members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } : object.members
            write(members, "{", "}", level) { writer, member in
                writer.write(member.key)
                writer.text += writer.layout == .compact ? ":" : ": "
                writer.write(member.value, level: level + 1)
            }
        }
    }

    private mutating func write<Element>(
        _ elements: [Element], _ open: String, _ close: String, _ level: Int, _ body: (inout JSONWriter, Element) -> Void
    ) {
        text += open
        for (index, element) in elements.enumerated() {
            if index > 0 { text += "," }
            breakLine(level + 1)
            body(&self, element)
        }
        if !elements.isEmpty { breakLine(level) }
        text += close
    }

    private mutating func breakLine(_ level: Int) {
        if layout == .indented { text += "\n" + String(repeating: "  ", count: level) }
    }

    private mutating func write(_ string: String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
