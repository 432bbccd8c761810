internal import HuggingFace
internal import Support

/// Reads a header from its beginning on, through a window of the file, and never past a limit.
struct GGUFCursor {
    private let file: InputFile
    private let limit: Int
    private var window: [UInt8] = []
    private var windowStart = 0
    private(set) var offset = 0
    private static let windowSize = 1 << 18
    /// Elements of arrays that may still come. A value takes more memory than a byte of the file; the largest vocabularies have
    /// a twentieth of this.
    private var elementsLeft = 1 << 23

    var path: String { file.path }
    var fileSize: Int { file.size }

    /// - Parameter limit: at most the file's size.
    init(_ file: InputFile, limit: Int) { (self.file, self.limit) = (file, limit) }

    func failure(at offset: Int, _ problem: String) -> FileError {
        FileError(.malformed, "\(path): byte \(offset)", problem)
    }

    mutating func skip(_ count: Int) { offset += count }

    /// Bytes up to the limit.
    private var left: Int { limit - offset }

    /// The next bytes.
    private mutating func take(_ count: Int, _ what: String) throws(FileError) -> ArraySlice<UInt8> {
        guard count <= left else {
            throw failure(
                at: offset,
                limit < fileSize
                    ? "\(what) reaches past the \(limit) bytes that a header may have"
                    : "the file ends within \(what) of \(count) bytes")
        }
        if offset + count > windowStart + window.count {
            window = try file.bytes(offset..<min(limit, offset + max(count, Self.windowSize)))
            windowStart = offset
        }
        let start = offset - windowStart
        offset += count
        return window[start..<start + count]
    }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws(FileError) -> Value {
        var value: Value = 0
        for byte in try take(Value.bitWidth / 8, "a number").reversed() { value = value << 8 | Value(truncatingIfNeeded: byte) }
        return value
    }

    /// How many of something follow, each of at least `leastSize` bytes.
    mutating func count(of what: String, leastSize: Int) throws(FileError) -> Int {
        let place = offset
        let count = try integer(UInt64.self)
        guard count <= UInt64(left / leastSize) else {
            throw failure(at: place, "\(count) \(what) do not fit the \(left) bytes that follow")
        }
        return Int(count)
    }

    mutating func string(_ what: String) throws(FileError) -> String {
        let place = offset
        let length = try integer(UInt64.self)
        guard length <= UInt64(max(0, left)) else {
            throw failure(at: place, "\(what) of \(length) bytes reaches past the end")
        }
        guard let text = String(validating: try take(Int(length), what), as: UTF8.self) else {
            throw failure(at: place, "\(what) is not UTF-8")
        }
        return text
    }

    /// The type and the value of a key.
    mutating func value(of key: String) throws(FileError) -> GGUFValue {
        let kind = try kind(of: key)
        guard kind == .array else { return try plain(kind, key) }
        let place = offset
        let element = try self.kind(of: key)
        guard element != .array else { throw failure(at: place, "\(key) is an array of arrays, which is not supported") }
        let count = try count(of: "elements of \(key)", leastSize: element.leastSize)
        guard count <= elementsLeft else {
            throw failure(at: place, "\(key) has \(count) elements; arrays with \(1 << 23) in all are accepted")
        }
        elementsLeft -= count
        var values: [GGUFValue] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try plain(element, key)) }
        return .array(element, values)
    }

    private mutating func kind(of key: String) throws(FileError) -> GGUFValue.Kind {
        let place = offset
        let code = try integer(UInt32.self)
        guard let kind = GGUFValue.Kind(rawValue: code) else { throw failure(at: place, "\(key) has the unknown type \(code)") }
        return kind
    }

    private mutating func plain(_ kind: GGUFValue.Kind, _ key: String) throws(FileError) -> GGUFValue {
        switch kind {
        case .uint8: return .uint8(try integer(UInt8.self))
        case .int8: return .int8(Int8(bitPattern: try integer(UInt8.self)))
        case .uint16: return .uint16(try integer(UInt16.self))
        case .int16: return .int16(Int16(bitPattern: try integer(UInt16.self)))
        case .uint32: return .uint32(try integer(UInt32.self))
        case .int32: return .int32(Int32(bitPattern: try integer(UInt32.self)))
        case .uint64: return .uint64(try integer(UInt64.self))
        case .int64: return .int64(Int64(bitPattern: try integer(UInt64.self)))
        case .float32: return .float32(Float(bitPattern: try integer(UInt32.self)))
        case .float64: return .float64(Double(bitPattern: try integer(UInt64.self)))
        case .bool:
            let place = offset
            let byte = try integer(UInt8.self)
            guard byte < 2 else { throw failure(at: place, "\(key) is \(byte), neither true (1) nor false (0)") }
            return .bool(byte == 1)
        case .string: return .string(try string(key))
        case .array: preconditionFailure("an array is no plain value")
        }
    }
}
