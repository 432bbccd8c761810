/// A piece of a template: text outside of tags, or what stands in them.
struct TemplateToken {
    enum Kind: Equatable {
        case text([UInt8])
        /// `{{` and `}}`.
        case outputBegin
        case outputEnd
        /// `{%` and `%}`.
        case tagBegin
        case tagEnd
        case name(String)
        case string([UInt8])
        case integer(Int)
        case float(Double)
        case symbol(String)
        case end
    }

    let kind: Kind
    /// From 1.
    let line: Int

    /// In messages.
    var text: String {
        switch kind {
        case .text: "text"
        case .outputBegin: "{{"
        case .outputEnd: "}}"
        case .tagBegin: "{%"
        case .tagEnd: "%}"
        case .name(let name): name
        case .string(let bytes): "'\(String(decoding: bytes.prefix(40), as: UTF8.self))'"
        case .integer(let value): String(value)
        case .float(let value): String(value)
        case .symbol(let symbol): symbol
        case .end: "the end of the template"
        }
    }
}
