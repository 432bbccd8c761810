/// A value given to a key, as text, with the place where it was given.
struct GivenSetting: Equatable, Sendable {
    var text: String
    /// Such as `run.yaml:12`, or `--set training.steps=3`.
    let place: String
    /// Whether it is meant for one job, and not for whichever of several uses it.
    var isForJob = false

    /// Whether this is a setting's value: a whole number has several texts.
    func means(_ value: String) -> Bool { text == value || Int(text).map { $0 == Int(value) } ?? false }
}

/// What is given, by key.
typealias GivenSettings = [String: GivenSetting]

/// A key as documentation: where it stands, what it accepts, what it means, and the value it has in this configuration.
package struct SettingDescription: Equatable, Sendable {
    /// Such as `training.steps`.
    package let path: String
    package let value: String
    /// Whether the value must be quoted in YAML, where a text may look like a number or a mapping.
    package let isText: Bool
    /// For a path, the word that stands for none; nil for any other setting.
    package let wordForNoPath: String?
    package let defaultValue: String
    package let expectation: String
    package let help: String

    /// Whether the value is a path.
    package var isPath: Bool { wordForNoPath.map { $0 != value } ?? false }
}

/// Gives the keys of a configuration their values, one call per key.
///
/// That call is the only place that states a key's name, type, default, accepted values and meaning: the values read, the
/// errors, the list of known keys and the text of `--print-config` all come from it. A section of the configuration is a struct
/// whose initializer makes these calls.
package struct Settings {
    /// What one configuration's sections share while it is read.
    private final class Log {
        var given: [String: GivenSetting]
        var descriptions: [SettingDescription] = []
        /// The first value that is not accepted.
        var problem: ConfigurationError?
        /// By names that keys had before, and still may be given by, what they are called now.
        var formerPaths: [String: CurrentKey] = [:]

        init(_ given: [String: GivenSetting]) { self.given = given }
    }

    private let log: Log
    private let prefix: String

    init(_ given: [String: GivenSetting]) {
        log = Log(given)
        prefix = ""
    }

    private init(_ log: Log, prefix: String) {
        self.log = log
        self.prefix = prefix
    }

    /// The keys below `name`.
    package func section(_ name: String) -> Settings { Settings(log, prefix: "\(prefix)\(name).") }

    /// The value of a key, or its default.
    ///
    /// - Parameter former: the path that the key had before; runs and scripts that give it still work, and are told of the
    ///   new one (`RunConfig.renamedKeys`, `RunConfig.renamed`).
    package func callAsFunction<Value: SettingValue>(
        _ name: String, formerly former: String? = nil, _ defaultValue: Value, _ help: String, _ rule: Rule<Value> = .any
    ) -> Value {
        if let former { log.formerPaths[former] = CurrentKey(path: prefix + name, texts: [:]) }
        return read(
            name, defaultValue, help, expectation: rule.expectation, insteadOf: rule.expectation(insteadOf:),
            isText: Value.isText, wordForNoPath: nil,
            text: \.settingText, value: { Value(settingText: $0).flatMap { rule.accepts($0) ? $0 : nil } })
    }

    /// The value of a key that takes the path of a file or folder, and may be left open: `word` stands for that.
    func path(_ name: String, orElse word: String, _ help: String) -> String? {
        optional(name, orElse: word, isPath: true, help)
    }

    /// The value of a key that may be left open: `word` stands for that.
    ///
    /// - Parameters:
    ///   - former: the path that the key had before; `texts`: what values of that are now, where they are called otherwise.
    package func optional<Value: SettingValue>(
        _ name: String, formerly former: String? = nil, meaning texts: [String: String] = [:], orElse word: String,
        default defaultValue: Value? = nil, isPath: Bool = false,
        _ help: String, _ rule: Rule<Value> = .any
    ) -> Value? {
        if let former { log.formerPaths[former] = CurrentKey(path: prefix + name, texts: texts) }
        return read(
            name, defaultValue, help, expectation: "\(rule.expectation), or \(word)",
            insteadOf: { "\(rule.expectation(insteadOf: $0)), or \(word)" }, isText: Value.isText,
            wordForNoPath: isPath ? word : nil,
            text: { (value: Value?) in value?.settingText ?? word },
            value: { text in
                if text == word { return .some(nil) }
                return Value(settingText: text).flatMap { rule.accepts($0) ? .some($0) : nil }
            })
    }

    /// - Parameters:
    ///   - expected: in place of a text that is not accepted.
    ///   - value: reads a text; nil where it is not accepted.
    private func read<Value>(
        _ name: String, _ defaultValue: Value, _ help: String, expectation: String,
        insteadOf expected: (String) -> String, isText: Bool, wordForNoPath: String?,
        text: (Value) -> String, value: (String) -> Value?
    ) -> Value {
        let path = prefix + name
        var result = defaultValue
        if let given = log.given[path] {
            if let value = value(given.text) {
                result = value
            } else if log.problem == nil {
                log.problem = ConfigurationError(
                    given.place, "\(path): '\(given.text.prefix(100))' is not accepted, expected \(expected(given.text))")
            }
        }
        log.descriptions.append(
            SettingDescription(
                path: path, value: text(result), isText: isText, wordForNoPath: wordForNoPath, defaultValue: text(defaultValue),
                expectation: expectation, help: help))
        return result
    }

    /// Every key, in the order of the calls.
    package var descriptions: [SettingDescription] { log.descriptions }

    /// By names that keys had before, what they are called now.
    var formerPaths: [String: CurrentKey] { log.formerPaths }

    /// The first error in the given values: unknown keys before all else, since a misspelled key explains other errors.
    var problem: ConfigurationError? {
        let known = Set(log.descriptions.map(\.path)).union(log.formerPaths.keys)
        let unknown = log.given.filter { !known.contains($0.key) }.min { $0.key < $1.key }
        guard let (path, given) = unknown else { return log.problem }
        return ConfigurationError(given.place, "unknown key '\(path.prefix(100))'" + hint(for: path))
    }

    private func hint(for path: String) -> String {
        let paths = log.descriptions.map(\.path)
        let below = paths.filter { $0.hasPrefix(path + ".") }
        if let first = below.first { return ", which is a section; its keys are \(first) and others (see --print-config)" }
        return nearestName(to: path, among: paths).map { "; the nearest known one is '\($0)'" }
            ?? ": there is no such setting; sq-train --print-config lists them"
    }
}

/// What a key is called now.
struct CurrentKey {
    let path: String
    /// What values by the former name are now, where they are called otherwise.
    let texts: [String: String]
}
