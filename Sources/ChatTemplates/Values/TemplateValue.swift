/// A value of a template, as Python would have it. Text is kept as UTF-8, so that two texts are equal where their bytes are.
indirect enum TemplateValue {
    /// What has no value, and how messages call it.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case string([UInt8])
    case sequence(TemplateSequence)
    /// A sequence that can be iterated over once.
    case iterator(TemplateIterator)
    case mapping(TemplateMapping)
    case namespace(TemplateNamespace)
    case loop(TemplateLoop)
    case function(TemplateFunction)

    init(_ text: String) { self = .string(Array(text.utf8)) }

    /// How deep lists and mappings are nested in it.
    var depth: Int {
        switch self {
        case .sequence(let sequence): sequence.depth
        case .mapping(let mapping): mapping.depth
        default: 0
        }
    }

    /// Bytes and values in it, each as often as an iteration would visit it: a list of a list twice has it twice, though it is
    /// in memory once.
    var weight: Int {
        switch self {
        case .string(let text): text.count + 1
        case .sequence(let sequence): sequence.weight
        case .mapping(let mapping): mapping.weight
        default: 1
        }
    }

    /// More than an iteration may visit.
    static let weightLimit = 1 << 40

    /// Deeper values are refused: no message is so deep, and each level takes a level of the stack.
    static let depthLimit = 64

    /// Whether lists and mappings can hold it.
    var canBeKept: Bool {
        switch self {
        case .namespace, .loop, .iterator, .function: false
        default: depth < Self.depthLimit
        }
    }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }

    /// In messages.
    var kind: String {
        switch self {
        case .undefined: "undefined"
        case .none: "none"
        case .bool: "a boolean"
        case .integer, .float: "a number"
        case .string: "a string"
        case .sequence(let sequence): sequence.kind == .tuple ? "a tuple" : "a list"
        case .iterator: "an iterator"
        case .mapping: "a mapping"
        case .namespace: "a namespace"
        case .loop: "a loop"
        case .function: "a function"
        }
    }

    /// `bool(value)`.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .float(let value): value != 0
        case .string(let text): !text.isEmpty
        case .sequence(let sequence): !sequence.items.isEmpty
        case .mapping(let mapping): mapping.count > 0
        case .iterator, .namespace, .function: true
        case .loop(let loop): loop.items.count > 0
        }
    }

    /// A number that Python calculates with.
    var number: TemplateNumber? {
        switch self {
        case .bool(let value): .integer(value ? 1 : 0)
        case .integer(let value): .integer(value)
        case .float(let value): .float(value)
        default: nil
        }
    }

    /// An integer that is a place or a count.
    var integer: Int? { if case .integer(let value)? = number { value } else { nil } }

    /// `str(value)`; nil for what is not printed here.
    var text: [UInt8]? {
        switch self {
        case .undefined: []
        case .none: Array("None".utf8)
        case .bool(let value): Array((value ? "True" : "False").utf8)
        case .integer(let value): Array(String(value).utf8)
        case .float(let value): Array(value.pythonText.utf8)
        case .string(let text): text
        case .sequence, .iterator, .mapping, .namespace, .loop, .function: nil
        }
    }

    /// `a == b`; nil where that is not known here.
    static func areEqual(_ a: TemplateValue, _ b: TemplateValue) -> Bool? {
        if let a = a.number, let b = b.number { return a == b }
        switch (a, b) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let a), .string(let b)): return a == b
        case (.sequence(let a), .sequence(let b)):
            guard a.kind != .view, b.kind != .view else { return nil }
            guard a.kind == b.kind, a.items.count == b.items.count else { return false }
            for (a, b) in zip(a.items, b.items) {
                guard let isEqual = areEqual(a, b) else { return nil }
                if !isEqual { return false }
            }
            return true
        case (.mapping(let a), .mapping(let b)):
            guard a.count == b.count else { return false }
            for (key, value) in a.entries {
                guard let other = b[key] else { return false }
                guard let isEqual = areEqual(value, other) else { return nil }
                if !isEqual { return false }
            }
            return true
        case (.iterator, _), (_, .iterator), (.function, _), (_, .function), (.loop, _), (_, .loop): return nil
        case (.namespace(let a), .namespace(let b)): return a === b
        default: return false
        }
    }
}

/// A number as Python keeps it.
enum TemplateNumber: Equatable {
    case integer(Int)
    case float(Double)

    var double: Double {
        switch self {
        case .integer(let value): Double(value)
        case .float(let value): value
        }
    }

    // An integer and a float are compared as they are, and not as floats.

    static func == (a: TemplateNumber, b: TemplateNumber) -> Bool {
        switch (a, b) {
        case (.integer(let a), .integer(let b)): a == b
        case (.float(let a), .float(let b)): a == b
        case (.integer(let integer), .float(let float)), (.float(let float), .integer(let integer)):
            Int(exactly: float) == integer
        }
    }

    static func < (a: TemplateNumber, b: TemplateNumber) -> Bool {
        switch (a, b) {
        case (.integer(let a), .integer(let b)): a < b
        case (.float(let a), .float(let b)): a < b
        case (.integer(let a), .float(let b)): Int(exactly: b.rounded(.up)).map { a < $0 } ?? (b > 0)
        case (.float(let a), .integer(let b)): Int(exactly: a.rounded(.down)).map { $0 < b } ?? (a < 0)
        }
    }
}

/// A list, a tuple, or what Python has in their place.
struct TemplateSequence {
    enum Kind { case list, tuple, range, view }

    let items: [TemplateValue]
    let kind: Kind
    let depth: Int
    let weight: Int

    init(_ items: [TemplateValue], _ kind: Kind = .list) {
        (self.items, self.kind) = (items, kind)
        weight = items.reduce(1) { min(TemplateValue.weightLimit, $0 + $1.weight) }
        depth = 1 + (items.lazy.map(\.depth).max() ?? 0)
    }
}

/// A mapping from text, in the order of its making.
struct TemplateMapping {
    private(set) var entries: [(key: [UInt8], value: TemplateValue)] = []
    private var places: [[UInt8]: Int] = [:]
    private(set) var depth = 1
    /// Grows with what is set, also where it replaces something.
    private(set) var weight = 1

    init() {}

    var count: Int { entries.count }

    subscript(key: [UInt8]) -> TemplateValue? { places[key].map { entries[$0].value } }

    mutating func set(_ key: [UInt8], _ value: TemplateValue) {
        depth = max(depth, 1 + value.depth)
        weight = min(TemplateValue.weightLimit, weight + key.count + value.weight)
        if let place = places[key] {
            entries[place].value = value
        } else {
            places[key] = entries.count
            entries.append((key, value))
        }
    }
}

/// The result of `map`, `select` and the like: iterated over once, and true even where it is empty.
final class TemplateIterator {
    private var items: ArraySlice<TemplateValue>

    init(_ items: [TemplateValue]) { self.items = items[...] }

    func take() -> [TemplateValue] {
        defer { items = [] }
        return Array(items)
    }

    func takeFirst() -> TemplateValue? { items.popFirst() }
}

/// `namespace()`: what statements inside of loops can set.
final class TemplateNamespace {
    var values = TemplateMapping()
}

/// `loop` in the body of a `for`.
final class TemplateLoop {
    let items: [TemplateValue]
    var index = 0

    init(_ items: [TemplateValue]) { self.items = items }
}

/// What can be called.
enum TemplateFunction {
    case global(String)
    case method(String, of: TemplateValue)
    /// `loop.cycle`.
    case cycle(TemplateLoop)
    case macro(TemplateMacro, TemplateScope)
}

/// Names and their values: of the template, of a turn of a loop, or of a call of a macro.
final class TemplateScope {
    private var values: [String: TemplateValue] = [:]
    private let outer: TemplateScope?

    init(in outer: TemplateScope? = nil) { self.outer = outer }

    /// Whether the name has a value here, and not only around.
    func has(_ name: String) -> Bool { values[name] != nil }

    subscript(name: String) -> TemplateValue? {
        get { values[name] ?? outer?[name] }
        set { values[name] = newValue }
    }
}

extension Double {
    /// `repr(x)`: whole numbers below 10¹⁶ without an exponent.
    var pythonText: String {
        guard magnitude >= 0x1p53, magnitude < 1e16 else { return description }
        return String(Int64(self)) + ".0"
    }
}
