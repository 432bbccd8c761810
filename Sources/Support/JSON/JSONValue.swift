/// A JSON document (RFC 8259), with integers kept apart from other numbers.
package enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    /// A number written without fraction and exponent that fits 64 bits.
    case integer(Int)
    /// Any other number.
    case double(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)
}

/// Members in the order of the file.
///
/// Keys are compared byte by byte. Swift's own comparison of strings takes canonically equivalent ones for equal, and
/// vocabularies do hold "é" in both of its forms.
package struct JSONObject: Equatable, Sendable {
    package private(set) var members: [(key: String, value: JSONValue)] = []
    /// Positions of the keys; empty while a linear search is faster.
    private var index: [UTF8Key: Int] = [:]
    private static let indexedFrom = 12

    package init() {}

    package var count: Int { members.count }
    package var keys: [String] { members.map(\.key) }

    /// The value of a member; nil where there is none. Assigning nil removes it, assigning to a new key adds it as the last
    /// one.
    package subscript(key: String) -> JSONValue? {
        get { position(of: key).map { members[$0].value } }
        set {
            guard let newValue else {
                guard let found = position(of: key) else { return }
                members.remove(at: found)
                rebuildIndex()
                return
            }
            if let found = position(of: key) {
                members[found].value = newValue
            } else {
                _ = insert(key, newValue)
            }
        }
    }

    /// Adds a member; false, and no change, if the key is there already.
    package mutating func insert(_ key: String, _ value: JSONValue) -> Bool {
        if members.count < Self.indexedFrom {
            guard position(of: key) == nil else { return false }
            members.append((key, value))
            if members.count == Self.indexedFrom { rebuildIndex() }
            return true
        }
        let previous = index.updateValue(members.count, forKey: UTF8Key(key))
        if let previous {
            index[UTF8Key(key)] = previous
            return false
        }
        members.append((key, value))
        return true
    }

    private func position(of key: String) -> Int? {
        if members.count < Self.indexedFrom {
            let key = UTF8Key(key)
            return members.firstIndex { UTF8Key($0.key) == key }
        }
        return index[UTF8Key(key)]
    }

    private mutating func rebuildIndex() {
        index.removeAll()
        guard members.count >= Self.indexedFrom else { return }
        for (position, member) in members.enumerated() { index[UTF8Key(member.key)] = position }
    }

    /// Whether both have the same members in the same order.
    package static func == (a: JSONObject, b: JSONObject) -> Bool {
        a.members.elementsEqual(b.members) { UTF8Key($0.key) == UTF8Key($1.key) && $0.value == $1.value }
    }
}

/// A string that is equal to another only if their UTF-8 bytes are.
package struct UTF8Key: Hashable, Sendable {
    package let string: String

    package init(_ string: String) { self.string = string }

    /// Byte by byte: Swift compares texts by canonical equivalence, JSON does not.
    package static func == (a: UTF8Key, b: UTF8Key) -> Bool { a.string.utf8.elementsEqual(b.string.utf8) }

    /// Of the bytes, as equality is.
    package func hash(into hasher: inout Hasher) {
        let hashed: Void? = string.utf8.withContiguousStorageIfAvailable { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        if hashed == nil { for byte in string.utf8 { hasher.combine(byte) } }
    }
}

extension JSONValue {
    /// A member of an object; nil for anything else.
    package subscript(key: String) -> JSONValue? { object?[key] }

    package var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
    package var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    package var string: String? { if case .string(let value) = self { value } else { nil } }
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    package var integer: Int? { if case .integer(let value) = self { value } else { nil } }
    /// Any number.
    package var number: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }
    /// An array of integers only.
    package var integers: [Int]? {
        guard let array else { return nil }
        let integers = array.compactMap(\.integer)
        return integers.count == array.count ? integers : nil
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .double(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(nilLiteral: ()) { self = .null }
    /// Null where there is no number.
    package init(_ number: Double?) { self = number.map { .double($0) } ?? .null }
    package init(_ number: Int?) { self = number.map { .integer($0) } ?? .null }
    /// - Precondition: no key twice.
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        var object = JSONObject()
        for (key, value) in elements { precondition(object.insert(key, value), "key \(key) twice") }
        self = .object(object)
    }
}
