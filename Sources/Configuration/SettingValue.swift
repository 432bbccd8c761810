/// A type a setting may have: how its values are written and read.
package protocol SettingValue: Equatable, Sendable {
    /// What is expected, as in "expected an integer".
    static var expectation: String { get }
    /// Whether values are free texts, which YAML wants quoted where they look like something else.
    static var isText: Bool { get }
    init?(settingText text: String)
    var settingText: String { get }
    /// The value that is computed with, which a rule has to accept, too.
    var computed: Self { get }
}

extension SettingValue {
    package static var isText: Bool { false }
    package var computed: Self { self }
}

extension Int: SettingValue {
    package static var expectation: String { "an integer" }
    package init?(settingText text: String) { self.init(text) }
    package var settingText: String { String(self) }
}

extension Double: SettingValue {
    package static var expectation: String { "a number" }

    /// NaN and infinity are refused, written out or as a number out of single precision's range; so is hexadecimal.
    package init?(settingText text: String) {
        guard text.utf8.allSatisfy({ "0123456789+-.eE".utf8.contains($0) }), let value = Double(text), value.computed.isFinite
        else {
            return nil
        }
        self = value
    }

    /// In single precision, which most of the work is done in: 1e-300 is 0 there, and 0.999999999 is 1.
    package var computed: Double { Double(Float(self)) }

    package var settingText: String { self == rounded() && abs(self) < 1e15 ? String(Int(self)) : description }
}

extension Bool: SettingValue {
    package static var expectation: String { "true or false" }
    package init?(settingText text: String) { self.init(text) }
    package var settingText: String { description }
}

extension String: SettingValue {
    package static var expectation: String { "a text" }
    package static var isText: Bool { true }
    package init?(settingText text: String) {
        guard !text.isEmpty, !text.utf8.contains(0) else { return nil }
        self = text
    }
    package var settingText: String { self }
}

extension String {
    /// `A=B` between commas, as both sides; nil where a part has no `=`.
    var settingPairs: [(Substring, Substring)]? {
        var pairs: [(Substring, Substring)] = []
        for part in split(separator: ",", omittingEmptySubsequences: false) {
            let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard sides.count == 2 else { return nil }
            pairs.append((sides[0], sides[1]))
        }
        return pairs
    }
}

/// A setting with a fixed set of words as its values.
package protocol Choice: SettingValue, CaseIterable, RawRepresentable<String> {}

extension Choice {
    package static var expectation: String {
        let words = allCases.map(\.rawValue)
        return words.count > 1 ? "one of " + words.joined(separator: ", ") : words.joined()
    }
    package init?(settingText text: String) { self.init(rawValue: text) }
    package var settingText: String { rawValue }
}

/// Which values of its type a setting accepts.
package struct Rule<Value: SettingValue>: Sendable {
    /// What is expected, in the words of an error and of a comment.
    let expectation: String
    private let holds: @Sendable (Value) -> Bool

    private init(expectation: String, _ holds: @escaping @Sendable (Value) -> Bool) {
        (self.expectation, self.holds) = (expectation, holds)
    }

    func accepts(_ value: Value) -> Bool { holds(value) && holds(value.computed) }

    /// What is expected where `text` is refused, which may be for what single precision makes 0 or an end of the range.
    func expectation(insteadOf text: String) -> String {
        let isRounded = Value(settingText: text).map(holds) ?? false
        return expectation + (isRounded ? ", in single precision too" : "")
    }

    /// Every value of the type.
    static var any: Rule { Rule(expectation: Value.expectation) { _ in true } }

    static func oneOf(_ values: [Value]) -> Rule {
        Rule(expectation: "one of " + values.map(\.settingText).joined(separator: ", ")) { values.contains($0) }
    }
}

extension Rule where Value: Comparable {
    static func range(_ range: ClosedRange<Value>) -> Rule {
        let ends = "from \(range.lowerBound.settingText) to \(range.upperBound.settingText)"
        return Rule(expectation: "\(Value.expectation) \(ends)") { range.contains($0) }
    }

    static func atLeast(_ least: Value) -> Rule {
        Rule(expectation: "\(Value.expectation), at least \(least.settingText)") { $0 >= least }
    }

    /// Both ends excluded.
    static func between(_ low: Value, _ high: Value) -> Rule {
        let ends = "greater than \(low.settingText) and less than \(high.settingText)"
        return Rule(expectation: "\(Value.expectation) \(ends)") { $0 > low && $0 < high }
    }

    /// The lower end excluded.
    static func above(_ low: Value, upTo high: Value) -> Rule {
        let ends = "greater than \(low.settingText), at most \(high.settingText)"
        return Rule(expectation: "\(Value.expectation) \(ends)") { $0 > low && $0 <= high }
    }

    /// The upper end excluded.
    static func from(_ low: Value, below high: Value) -> Rule {
        let ends = "at least \(low.settingText), less than \(high.settingText)"
        return Rule(expectation: "\(Value.expectation) \(ends)") { $0 >= low && $0 < high }
    }
}
