/// What the splitting patterns distinguish in a character: ASCII and a few others are kinds of their own, the rest is told by
/// its general category.
///
/// The categories are those of Unicode 16, which Hugging Face's regular expressions know. Swift's tables may be newer:
/// characters assigned later count as unassigned, and those whose category has changed since are listed. Otherwise ids would
/// depend on the library Swift came with.
final class CharacterTable: Sendable {
    /// Kinds: 0..<128 are ASCII, 128... general categories, then the characters listed in `singles`.
    static let kinds = 192
    static let shared = CharacterTable()

    /// Of the basic plane's characters.
    private let basic: [UInt8]

    private init() {
        basic = (0..<0x10000 as Range<UInt32>).map { value in Unicode.Scalar(value).map(Self.kind) ?? Self.unassigned }
    }

    /// The character that begins at `position` in valid UTF-8.
    @inline(__always)
    func character(in text: [UInt8], at position: Int) -> (scalar: UInt32, kind: UInt8, length: Int) {
        let lead = text[position]
        if lead < 0x80 { return (UInt32(lead), lead, 1) }
        let (scalar, length) = UTF8Text.scalar(in: text, at: position)
        let kind = scalar.value < 0x10000 ? basic[Int(scalar.value)] : Self.kind(scalar)
        return (scalar.value, kind, length)
    }

    // MARK: - Kinds

    private static let categories: [Unicode.GeneralCategory] = [
        .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter,
        .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .letterNumber, .otherNumber,
        .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation, .finalPunctuation,
        .otherPunctuation, .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol,
        .spaceSeparator, .lineSeparator, .paragraphSeparator, .control, .format, .surrogate, .privateUse, .unassigned,
    ]
    private static let kindOfCategory = Dictionary(
        uniqueKeysWithValues: categories.enumerated().map { ($0.element, UInt8(128 + $0.offset)) })
    private static let unassigned = kindOfCategory[.unassigned] ?? 0
    /// Characters that a pattern may tell from others of their category: the white space among the controls, and what ASCII
    /// letters are equal to but for case.
    private static let singles: [Unicode.Scalar: UInt8] = ["\u{85}": 160, "\u{17F}": UInt8(longS), "\u{212A}": UInt8(kelvin)]
    /// ſ, which is an s but for case, and K, the sign of the kelvin, which is a k.
    static let longS = 161, kelvin = 162
    private static let newestVersion = (major: 16, minor: 0)
    /// Letters that have become ones of another kind since: U+0295 is now `Lo`.
    private static let changed: [Unicode.Scalar: Unicode.GeneralCategory] = ["\u{295}": .lowercaseLetter]

    static func kind(_ scalar: Unicode.Scalar) -> UInt8 {
        if scalar.isASCII { return UInt8(scalar.value) }
        if let kind = singles[scalar] { return kind }
        return kindOfCategory[category(scalar)] ?? unassigned
    }

    /// As of Unicode 16.
    static func category(_ scalar: Unicode.Scalar) -> Unicode.GeneralCategory {
        if let former = changed[scalar] { return former }
        let properties = scalar.properties
        // Private-use characters and surrogates have had their category from the start, and no age.
        guard let age = properties.age else { return properties.generalCategory }
        return (age.major, age.minor) <= newestVersion ? properties.generalCategory : .unassigned
    }

    /// The kinds of characters of some general categories, named as in `\p{…}`; nil for a name that is none.
    static func kinds(ofCategory name: String) -> KindSet? {
        let names = [
            "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
            "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn",
        ]
        let wanted = Set(zip(names, categories).filter { $0.0 == name || $0.0.prefix(1) == name }.map(\.1))
        guard !wanted.isEmpty else { return nil }
        return kinds { wanted.contains($0) }
    }

    /// `\s`
    static var whitespace: KindSet {
        var kinds = kinds { [.spaceSeparator, .lineSeparator, .paragraphSeparator].contains($0) }
        for scalar in ["\t", "\n", "\u{B}", "\u{C}", "\r", "\u{85}"] as [Unicode.Scalar] { kinds.insert(Int(kind(scalar))) }
        return kinds
    }

    private static func kinds(where accepts: (_ category: Unicode.GeneralCategory) -> Bool) -> KindSet {
        var kinds = KindSet()
        for value in 0..<128 as Range<UInt8> where accepts(category(Unicode.Scalar(value))) { kinds.insert(Int(value)) }
        for (offset, category) in categories.enumerated() where accepts(category) { kinds.insert(128 + offset) }
        for (scalar, kind) in singles where accepts(category(scalar)) { kinds.insert(Int(kind)) }
        return kinds
    }
}

/// A set of kinds of characters.
struct KindSet: Sendable, Equatable {
    private var words: (UInt64, UInt64, UInt64) = (0, 0, 0)

    @inline(__always)
    func contains(_ kind: Int) -> Bool {
        let word = kind < 64 ? words.0 : kind < 128 ? words.1 : words.2
        return word >> UInt64(kind & 63) & 1 == 1
    }

    mutating func insert(_ kind: Int) {
        let bit = UInt64(1) << UInt64(kind & 63)
        switch kind >> 6 {
        case 0: words.0 |= bit
        case 1: words.1 |= bit
        default: words.2 |= bit
        }
    }

    mutating func formUnion(_ other: KindSet) {
        words = (words.0 | other.words.0, words.1 | other.words.1, words.2 | other.words.2)
    }

    var complement: KindSet {
        var result = self
        result.words = (~words.0, ~words.1, ~words.2)
        return result
    }

    static func == (a: KindSet, b: KindSet) -> Bool { a.words == b.words }
}

/// `[…]`: kinds of characters, and ranges of characters beyond ASCII.
struct CharacterSet: Sendable, Equatable {
    var kinds = KindSet()
    var ranges: [ClosedRange<UInt32>] = []
    var isNegated = false

    @inline(__always)
    func contains(_ scalar: UInt32, kind: UInt8) -> Bool {
        (kinds.contains(Int(kind)) || !ranges.isEmpty && ranges.contains { $0.contains(scalar) }) != isNegated
    }

    /// Kinds of which at least one character may belong to the set.
    var possibleKinds: KindSet {
        if isNegated { return kinds.complement }
        guard !ranges.isEmpty else { return kinds }
        var kinds = kinds
        for kind in 128..<CharacterTable.kinds { kinds.insert(kind) }
        return kinds
    }
}

extension CharacterSet {
    init(_ scalar: Unicode.Scalar) { insert(scalar.value...scalar.value) }

    var isEmpty: Bool { kinds == KindSet() && ranges.isEmpty && !isNegated }

    mutating func insert(_ range: ClosedRange<UInt32>) {
        for value in range.lowerBound..<max(range.lowerBound, min(range.upperBound + 1, 128)) { kinds.insert(Int(value)) }
        if range.upperBound >= 128 { ranges.append(max(range.lowerBound, 128)...range.upperBound) }
    }

    /// - Precondition: neither is negated, or only this one, whose members are collected.
    mutating func formUnion(_ other: CharacterSet) {
        kinds.formUnion(other.kinds)
        ranges += other.ranges
    }

    /// The set with the other case of its ASCII letters, and what Unicode folds to them (ſ to s, K to k); nil if it holds
    /// others.
    var ignoringCase: CharacterSet? {
        guard !isNegated, ranges.isEmpty else { return nil }
        var result = self
        for kind in 128..<CharacterTable.kinds where kinds.contains(kind) { return nil }
        for value in UInt8(ascii: "a")...UInt8(ascii: "z") {
            let upper = value - 32
            guard kinds.contains(Int(value)) || kinds.contains(Int(upper)) else { continue }
            result.kinds.insert(Int(value))
            result.kinds.insert(Int(upper))
            if value == UInt8(ascii: "s") { result.kinds.insert(CharacterTable.longS) }
            if value == UInt8(ascii: "k") { result.kinds.insert(CharacterTable.kelvin) }
        }
        return result
    }
}
