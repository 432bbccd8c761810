package import Support

/// What a line of a task's file is to a language model: texts whose likelihood is asked for. Likelihoods are those of
/// lm-evaluation-harness 0.4 without examples in the prompt.
package enum TaskItem: Sendable, Equatable {
    /// Texts, one of which is right. `pairs`: each with what it follows; `lengths`: characters that `acc_norm` divides by.
    case choices(pairs: [TextPair], lengths: [Int], right: Int)
    /// A text that is to be foretold word for word.
    case cloze(TextPair)
    /// A whole text.
    case text(String)
}

/// A text and what stands before it.
package struct TextPair: Sendable, Equatable {
    package var context: String
    package var continuation: String

    package init(_ context: String, _ continuation: String) { (self.context, self.continuation) = (context, continuation) }
}

/// A kind of task file: JSON objects, one a line. To add one, write it in a file of its own and list it in
/// ``EvaluationTasks``.
package protocol EvaluationTask: Sendable {
    /// As settings name it.
    static var name: String { get }
    /// The fields that it reads, for the user.
    static var fields: String { get }
    /// As lm-eval counts the task's versions.
    static var version: Double { get }
    /// Whether accuracy by likelihood per character is a result too.
    static var normalizes: Bool { get }
    /// - Throws: ``FileError`` at a field that is missing or has no such value.
    static func item(_ line: TaskLine) throws(FileError) -> TaskItem
}

extension EvaluationTask {
    package static var version: Double { 1 }
    package static var normalizes: Bool { true }
}

/// The tasks there are, by name.
package enum EvaluationTasks {
    package static let all: [any EvaluationTask.Type] = [
        HellaSwag.self, PIQA.self, ARC.self, WinoGrande.self, BoolQ.self, LAMBADA.self, PlainText.self,
    ]

    package static var names: [String] { all.map { $0.name } }

    /// The one of this name; nil if there is none.
    package static func named(_ name: String) -> (any EvaluationTask.Type)? { all.first { $0.name == name } }
}

/// An object of a task's file, whose fields are asked for with the file and the line in errors.
package struct TaskLine: Sendable {
    private let object: JSONObject
    private let place: String

    init(_ object: JSONObject, _ place: String) { (self.object, self.place) = (object, place) }

    /// An error at a field, for checks of the task's own.
    package func failure(_ field: String, _ problem: String) -> FileError {
        FileError(.malformed, "\(place): \(field)", problem)
    }

    private func value(_ field: String) throws(FileError) -> JSONValue {
        guard let value = object[field], value != .null else { throw failure(field, "is missing") }
        return value
    }

    /// Whether the field is there and not null.
    package func has(_ field: String) -> Bool { object[field].map { $0 != .null } ?? false }

    /// A text.
    ///
    /// - Throws: `FileError` where the field is missing or something else.
    package func string(_ field: String) throws(FileError) -> String {
        guard let text = try value(field).string else { throw failure(field, "is not a text") }
        return text
    }

    /// A list of two or more texts, such as the answers to choose from.
    ///
    /// - Parameter section: the object that the field is in; nil for the line itself.
    /// - Throws: `FileError` where the list is missing, shorter, or holds something else.
    package func strings(_ field: String, in section: String? = nil) throws(FileError) -> [String] {
        let path = [section, field].compactMap(\.self).joined(separator: ".")
        let found = try section.map { name throws(FileError) in try value(name)[field] } ?? object[field]
        guard let array = found?.array, array.count > 1, array.allSatisfy({ $0.string != nil }) else {
            throw failure(path, "is not a list of two or more texts")
        }
        return array.compactMap(\.string)
    }

    /// A number, or the text of one, below `count`.
    package func index(_ field: String, below count: Int, from first: Int = 0) throws(FileError) -> Int {
        let value = try value(field)
        let number = value.integer ?? value.string.flatMap { Int($0) } ?? value.bool.map { $0 ? 1 : 0 }
        guard let number, (first..<first + count).contains(number) else {
            throw failure(field, "is not a number from \(first) to \(first + count - 1)")
        }
        return number - first
    }
}
