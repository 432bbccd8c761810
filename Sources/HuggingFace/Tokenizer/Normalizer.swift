@_spi(_Unicode) import Swift

/// Changes to a text before it is split into pieces.
struct Normalizer: Sendable {
    private enum Step {
        /// Unicode's canonical composition, of version 9: the one Hugging Face's library knows.
        case composed
        /// Puts text in front of a text that is not empty.
        case prepend([UInt8])
        case replace(Replacement)
    }

    private let steps: [Step]
    /// What a byte of a text may become; no tokenizer in use reaches a tenth.
    private static let growthLimit = 1000.0
    /// A text goes through replacements in parts.
    private static let partLength = 1 << 16

    init(_ section: TokenizerSection) throws(TokenizerError) {
        var steps: [Step] = []
        for part in try section.steps("normalizers") { if let step = try Self.step(part) { steps.append(step) } }
        self.steps = steps
        let prefixes = steps.reduce(0) { if case .prepend(let prefix) = $1 { $0 + prefix.count } else { $0 } }
        let replacements = steps.compactMap { if case .replace(let replacement) = $0 { replacement } else { nil } }
        guard Replacement.growth(of: replacements) * Double(1 + prefixes) <= Self.growthLimit else {
            throw TokenizerError(
                key: section.key,
                problem: "could make a text more than \(Int(Self.growthLimit)) times as long; remove replacements")
        }
    }

    /// nil for one that changes nothing.
    private static func step(_ section: TokenizerSection) throws(TokenizerError) -> Step? {
        switch try section.type {
        case "NFC": return .composed
        case "Prepend":
            let prefix = Array(try section.string("prepend").utf8)
            return prefix.isEmpty ? nil : .prepend(prefix)
        case "Replace": return .replace(try Replacement(section))
        case let type: throw section.unknownType(type, known: "NFC, Prepend, Replace and Sequence")
        }
    }

    /// Whether the characters of a normalized text come one by one from those of the text, so that what is at its beginning
    /// was there before.
    var keepsPlaces: Bool {
        steps.allSatisfy { step in
            switch step {
            case .composed: true
            case .prepend: false
            case .replace(let step): [step.pattern, step.content].allSatisfy { $0.first.map(UTF8Text.length) == $0.count }
            }
        }
    }

    func apply(to text: ArraySlice<UInt8>) -> [UInt8] {
        guard !steps.isEmpty else { return Array(text) }
        var text = text
        var rest = steps[...]
        while let step = rest.first {
            switch step {
            case .composed:
                rest.removeFirst()
                // Nothing below U+0300 (CC 80) changes.
                if text.contains(where: { $0 >= 0xCC }) { text = Composer(Array(text)).result[...] }
            case .prepend, .replace:
                let chain = rest.prefix { if case .composed = $0 { false } else { true } }
                rest = rest.dropFirst(chain.count)
                text = Self.apply(Array(chain), to: text)[...]
            }
        }
        return Array(text)
    }

    /// Applies steps without composition to parts of a text, so that only the last result is held whole.
    private static func apply(_ chain: [Step], to text: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count)
        var matched = [Int](repeating: 0, count: chain.count)
        var isEmpty = [Bool](repeating: true, count: chain.count)
        var (part, next): ([UInt8], [UInt8]) = ([], [])
        for start in stride(from: text.startIndex, to: text.endIndex, by: partLength) {
            let end = min(text.endIndex, start + partLength)
            part.removeAll(keepingCapacity: true)
            part += text[start..<end]
            for (index, step) in chain.enumerated() {
                next.removeAll(keepingCapacity: true)
                switch step {
                case .replace(let replacement):
                    replacement.append(part[...], to: &next, matched: &matched[index])
                    if end == text.endIndex { next += replacement.pattern[..<matched[index]] }
                case .prepend(let prefix):
                    if isEmpty[index], !part.isEmpty { next += prefix }
                    isEmpty[index] = isEmpty[index] && part.isEmpty
                    next += part
                case .composed: preconditionFailure("a composition needs the whole text")
                }
                swap(&part, &next)
            }
            result += part
        }
        return result
    }
}

/// Unicode's canonical composition as of version 9, by the standard library's, which is newer and at fault in one place.
/// (Foundation's takes characters beyond U+FFFF for others.)
private struct Composer {
    private var pending = String.UnicodeScalarView()
    private var pendingCount = 0
    private(set) var result: [UInt8] = []
    /// So many characters are composed together at least.
    private static let leastCount = 4096

    /// Vowel signs of Tibetan, which the library does not sort among other marks unless they are decomposed.
    private static let decompositions: [Unicode.Scalar: String] = [
        "\u{F73}": "\u{F71}\u{F72}", "\u{F75}": "\u{F71}\u{F74}", "\u{F81}": "\u{F71}\u{F80}",
    ]

    init(_ text: [UInt8]) {
        result.reserveCapacity(text.count)
        var position = 0
        while position < text.count {
            let (scalar, length) = UTF8Text.scalar(in: text, at: position)
            position += length
            if Self.standsAlone(scalar) {
                flush()
                result += scalar.utf8
                continue
            }
            // What comes before a character below U+0300 is neither moved nor joined to it.
            if scalar.value < 0x300, pendingCount >= Self.leastCount { flush() }
            pendingCount += 1
            if let parts = Self.decompositions[scalar] {
                pending += parts.unicodeScalars
            } else {
                pending.append(scalar)
            }
        }
        flush()
    }

    /// Whether a character is neither moved nor joined to another, and what is on its two sides stays there: one that version 9
    /// does not know.
    private static func standsAlone(_ scalar: Unicode.Scalar) -> Bool {
        guard scalar.value >= 0x300, let age = scalar.properties.age else { return false }
        return age.major > 9
    }

    private mutating func flush() {
        for scalar in String(pending)._nfc { result += scalar.utf8 }
        pending.removeAll(keepingCapacity: true)
        pendingCount = 0
    }
}
