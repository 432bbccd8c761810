import Foundation

/// Changes to a text before it is split into pieces.
indirect enum Normalizer: Sendable {
    /// Unicode's canonical composition, of version 9: the one Hugging Face's library knows.
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
            return Composer(String(decoding: text, as: UTF8.self)).result
        case .prepend(let prefix): return text.isEmpty ? text : prefix + text
        case .replace(let pattern, let content): return text.replacing(pattern, with: content)
        case .sequence(let steps): return steps.reduce(text) { $1.apply(to: $0) }
        }
    }
}

/// Unicode's canonical composition as of version 9, by Foundation's, which is newer and at fault in a few places.
private struct Composer {
    private var pending = String.UnicodeScalarView()
    private(set) var result: [UInt8] = []

    /// Vowel signs of Tibetan, which Foundation does not sort among other marks unless they are decomposed.
    private static let decompositions: [Unicode.Scalar: String] = [
        "\u{F73}": "\u{F71}\u{F72}", "\u{F75}": "\u{F71}\u{F74}", "\u{F81}": "\u{F71}\u{F80}",
    ]

    init(_ text: String) {
        for scalar in text.unicodeScalars {
            if Self.standsAlone(scalar) {
                flush()
                result += Array(String(scalar).utf8)
            } else if let parts = Self.decompositions[scalar] {
                pending += parts.unicodeScalars
            } else {
                pending.append(scalar)
            }
        }
        flush()
    }

    /// Whether a character is neither moved nor joined to another, and what is on its two sides stays there: one that version 9
    /// does not know, and U+11A7, which Foundation takes for a final consonant.
    private static func standsAlone(_ scalar: Unicode.Scalar) -> Bool {
        if scalar == "\u{11A7}" { return true }
        guard scalar.value >= 0x300, let age = scalar.properties.age else { return false }
        return age.major > 9
    }

    private mutating func flush() {
        guard !pending.isEmpty else { return }
        var composed = String.UnicodeScalarView()
        var previous: Unicode.Scalar?
        for scalar in String(pending).precomposedStringWithCanonicalMapping.unicodeScalars {
            // Foundation leaves a final consonant of Hangul beside a syllable that came composed.
            if let last = previous, let syllable = Self.syllable(last, endingIn: scalar) {
                composed.removeLast()
                composed.append(syllable)
            } else {
                composed.append(scalar)
            }
            previous = composed.last
        }
        result += Array(String(composed).utf8)
        pending = String.UnicodeScalarView()
    }

    /// A syllable without a final consonant, with one; nil for all else.
    private static func syllable(_ scalar: Unicode.Scalar, endingIn final: Unicode.Scalar) -> Unicode.Scalar? {
        guard (0x11A8...0x11C2).contains(final.value), (0xAC00...0xD7A3).contains(scalar.value),
            (scalar.value - 0xAC00) % 28 == 0
        else { return nil }
        return Unicode.Scalar(scalar.value + final.value - 0x11A7)
    }
}
