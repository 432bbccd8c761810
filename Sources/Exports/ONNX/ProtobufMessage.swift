/// A message of Protocol Buffers being written: fields by number, in the order of the calls.
///
/// ONNX needs integers, texts, bytes and messages in messages; a package for the whole of Protocol Buffers would be generated
/// code of ten times this size.
struct ProtobufMessage {
    private(set) var bytes: [UInt8] = []

    mutating func add(_ field: Int, _ value: Int) {
        bytes.append(varint: field << 3)
        bytes.append(varint: value)
    }

    mutating func add(_ field: Int, _ value: String) { add(field, Array(value.utf8)) }

    mutating func add(_ field: Int, _ value: [UInt8]) {
        bytes.append(varint: field << 3 | 2)
        bytes.append(varint: value.count)
        bytes += value
    }

    mutating func add(_ field: Int, _ build: (inout ProtobufMessage) -> Void) {
        var message = ProtobufMessage()
        build(&message)
        add(field, message.bytes)
    }
}

extension [UInt8] {
    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fileprivate mutating func append(varint value: Int) {
        var rest = UInt64(bitPattern: Int64(value))
        while rest >= 0x80 {
            append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        append(UInt8(rest))
    }
}

/// A message as its fields, to compare what was written.
struct ProtobufFields {
    enum Value {
        case integer(Int)
        case bytes(ArraySlice<UInt8>)
    }

    private(set) var fields: [(number: Int, value: Value)] = []

    /// - Returns: nil where the bytes are no message of integers and of fields with a length.
    init?(_ bytes: ArraySlice<UInt8>) {
        var rest = bytes
        func varint() -> Int? {
            var (value, shift) = (UInt64(0), UInt64(0))
            while let byte = rest.popFirst() {
                guard shift < 64 else { return nil }
                value |= UInt64(byte & 0x7F) << shift
                if byte < 0x80 { return Int(truncatingIfNeeded: value) }
                shift += 7
            }
            return nil
        }
        while !rest.isEmpty {
            guard let key = varint(), let value = varint() else { return nil }
            switch key & 7 {
            case 0: fields.append((key >> 3, .integer(value)))
            case 2:
                guard value >= 0, value <= rest.count else { return nil }
                fields.append((key >> 3, .bytes(rest.prefix(value))))
                rest = rest.dropFirst(value)
            default: return nil
            }
        }
    }

    func integers(_ number: Int) -> [Int] {
        fields.compactMap { if $0.number == number, case .integer(let value) = $0.value { value } else { nil } }
    }

    func bytes(_ number: Int) -> [ArraySlice<UInt8>] {
        fields.compactMap { if $0.number == number, case .bytes(let value) = $0.value { value } else { nil } }
    }

    func texts(_ number: Int) -> [String] { bytes(number).map { String(decoding: $0, as: UTF8.self) } }

    /// - Returns: nil where one of them is no message.
    func messages(_ number: Int) -> [ProtobufFields]? {
        let all = bytes(number)
        let messages = all.compactMap { ProtobufFields($0) }
        return messages.count == all.count ? messages : nil
    }
}
