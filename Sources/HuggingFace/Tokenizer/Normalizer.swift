import Foundation

/// What is done to a text before anything else looks at it.
indirect enum Normalizer: Sendable {
    /// Unicode's canonical composition, of the version Foundation knows: Hugging Face's library knows an older one, which
    /// orders a few rare combining marks differently.
    case composed
    /// Puts text in front of a text that is not empty.
    case prepend([UInt8])
    case replace([UInt8], with: [UInt8])
    case sequence([Normalizer])

    init(_ section: TokenizerSection) throws(TokenizerError) {
        switch try section.type {
        case "NFC": self = .composed
        case "Prepend": self = .prepend(Array(try section.string("prepend").utf8))
        case "Replace": self = .replace(try section.literalPattern(), with: Array(try section.string("content").utf8))
        case "Sequence":
            var steps: [Normalizer] = []
            for step in try section.sections("normalizers") { steps.append(try Normalizer(step)) }
            self = .sequence(steps)
        case let type: throw section.unknownType(type, known: "NFC, Prepend, Replace and Sequence")
        }
    }

    func apply(to text: [UInt8]) -> [UInt8] {
        switch self {
        case .composed:
            // Nothing below U+0300 (CC 80) changes.
            guard text.contains(where: { $0 >= 0xCC }) else { return text }
            return Array(String(decoding: text, as: UTF8.self).precomposedStringWithCanonicalMapping.utf8)
        case .prepend(let prefix): return text.isEmpty ? text : prefix + text
        case .replace(let pattern, let content): return text.replacing(pattern, with: content)
        case .sequence(let steps): return steps.reduce(text) { $1.apply(to: $0) }
        }
    }
}
