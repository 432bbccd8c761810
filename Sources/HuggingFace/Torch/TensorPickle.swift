/// A tensor as a pickle of `torch.save` describes it: a view of a storage.
struct PickledTensor: Equatable {
    /// The entry `data/<key>` that holds the storage.
    var storage: String
    var type: ElementType
    /// Elements in the storage.
    var storageCount: Int
    /// First element.
    var offset: Int
    var shape: [Int]
    /// Elements from one index to the next, by axis.
    var strides: [Int]
}

/// What a pickle was refused for, and the offset of the opcode.
struct PickleError: Error, Equatable {
    let offset: Int
    let problem: String
}

/// Reads the pickle of one plain dictionary from strings to float tensors, and nothing else.
///
/// A pickle is a program, and Python's reader calls whatever it names. This one has values only for what such a dictionary
/// consists of: it looks up no module, calls nothing, and refuses every opcode and name that it does not list.
/// Memory is bounded by the pickle's length: each opcode adds at most one small value.
struct TensorPickle {
    private enum Name: String {
        case rebuildTensor = "torch._utils _rebuild_tensor_v2"
        case rebuildParameter = "torch._utils _rebuild_parameter"
        case orderedDict = "collections OrderedDict"
        case floatStorage = "torch FloatStorage"
        case halfStorage = "torch HalfStorage"
        case bfloat16Storage = "torch BFloat16Storage"
        case doubleStorage = "torch DoubleStorage"

        var storageType: ElementType? {
            switch self {
            case .floatStorage: .f32
            case .halfStorage: .f16
            case .bfloat16Storage: .bf16
            case .doubleStorage: .f64
            default: nil
            }
        }
    }

    private enum Value {
        case mark, root, noHooks
        case bool(Bool)
        case integer(Int)
        case string(String)
        case name(Name)
        /// `depth` counts tuples inside one another: few, so that releasing them cannot exhaust the stack.
        case tuple([Value], depth: Int)
        case storage(key: String, ElementType, count: Int)
        case tensor(PickledTensor)
    }

    private let bytes: [UInt8]
    private var position = 0
    private var opcodeOffset = 0
    private var stack: [Value] = []
    private var memo: [Int: Value] = [:]
    private var hasRoot = false
    private var items: [(name: String, tensor: PickledTensor)] = []
    private static let deepestTuple = 4

    /// The dictionary's items, in its order.
    static func items(_ bytes: [UInt8]) throws(PickleError) -> [(name: String, tensor: PickledTensor)] {
        var reader = TensorPickle(bytes: bytes)
        return try reader.run()
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private func failure(_ problem: String) -> PickleError { PickleError(offset: opcodeOffset, problem: problem) }

    private mutating func run() throws(PickleError) -> [(name: String, tensor: PickledTensor)] {
        guard try take(2) == [0x80, 2] else { throw failure("is not a pickle of protocol 2") }
        while true {
            opcodeOffset = position
            let opcode = UInt8(try unsigned(1))
            if opcode == UInt8(ascii: ".") { break }
            try execute(opcode)
        }
        guard stack.count == 1, case .root = stack[0] else { throw failure("is not a dictionary of tensors") }
        guard position == bytes.count else { throw failure("there is more after the end of the pickle") }
        return items
    }

    private mutating func execute(_ opcode: UInt8) throws(PickleError) {
        switch opcode {
        case UInt8(ascii: "}"):
            guard !hasRoot else { throw failure("has a second dictionary") }
            hasRoot = true
            stack.append(.root)
        case UInt8(ascii: "("): stack.append(.mark)
        case UInt8(ascii: ")"): stack.append(.tuple([], depth: 1))
        case UInt8(ascii: "t"): try tuple(try popToMark())
        case 0x85: try tuple(try pop(1))
        case 0x86: try tuple(try pop(2))
        case 0x87: try tuple(try pop(3))
        case 0x88: stack.append(.bool(true))
        case 0x89: stack.append(.bool(false))
        case UInt8(ascii: "K"): stack.append(.integer(try unsigned(1)))
        case UInt8(ascii: "M"): stack.append(.integer(try unsigned(2)))
        case UInt8(ascii: "J"): stack.append(.integer(Int(Int32(truncatingIfNeeded: try unsigned(4)))))
        case 0x8A: stack.append(.integer(try longInteger()))
        case UInt8(ascii: "X"): stack.append(.string(try text(try unsigned(4))))
        case UInt8(ascii: "c"): stack.append(.name(try globalName()))
        case UInt8(ascii: "q"): try remember(try unsigned(1))
        case UInt8(ascii: "r"): try remember(try unsigned(4))
        case UInt8(ascii: "h"): try recall(try unsigned(1))
        case UInt8(ascii: "j"): try recall(try unsigned(4))
        case UInt8(ascii: "Q"): stack.append(try storage(try pop(1)[0]))
        case UInt8(ascii: "R"): stack.append(try reduce(try pop(2)))
        case UInt8(ascii: "s"): try set(try pop(2))
        case UInt8(ascii: "u"): try set(try popToMark())
        default:
            throw failure("opcode 0x\(String(opcode, radix: 16)) is refused: only a plain dictionary of float tensors is read")
        }
    }
}

// MARK: - Bytes

extension TensorPickle {
    private mutating func take(_ count: Int) throws(PickleError) -> ArraySlice<UInt8> {
        guard count <= bytes.count - position else { throw failure("ends early") }
        position += count
        return bytes[position - count..<position]
    }

    private mutating func unsigned(_ count: Int) throws(PickleError) -> Int {
        try take(count).reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    /// Two's complement of up to 8 bytes.
    private mutating func longInteger() throws(PickleError) -> Int {
        let count = try unsigned(1)
        guard count <= 8 else { throw failure("an integer has \(count) bytes") }
        guard count > 0 else { return 0 }
        let value = try take(count).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let unused = UInt64(64 - 8 * count)
        return Int(Int64(bitPattern: value << unused) >> Int64(unused))
    }

    private mutating func text(_ count: Int) throws(PickleError) -> String {
        guard let text = String(validating: try take(count), as: UTF8.self) else { throw failure("a string is not UTF-8") }
        return text
    }

    private mutating func line() throws(PickleError) -> String {
        guard let end = bytes[position...].prefix(256).firstIndex(of: 0x0A) else { throw failure("a name does not end") }
        let line = try text(end - position)
        position += 1
        return line
    }

    private mutating func globalName() throws(PickleError) -> Name {
        let name = try line() + " " + line()
        guard let known = Name(rawValue: name) else {
            throw failure("names \"\(name)\", which is refused: only a plain dictionary of float tensors is read")
        }
        return known
    }
}

// MARK: - The stack

extension TensorPickle {
    private mutating func pop(_ count: Int) throws(PickleError) -> [Value] {
        guard stack.count >= count else { throw failure("the stack is empty") }
        let values = Array(stack.suffix(count))
        stack.removeLast(count)
        return values
    }

    private mutating func popToMark() throws(PickleError) -> [Value] {
        guard let mark = stack.lastIndex(where: { if case .mark = $0 { true } else { false } }) else {
            throw failure("a mark is missing")
        }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[(mark + 1)...])
    }

    private mutating func tuple(_ elements: [Value]) throws(PickleError) {
        var depth = 1
        for element in elements {
            if case .tuple(_, let inner) = element { depth = max(depth, inner + 1) }
        }
        guard depth <= Self.deepestTuple else { throw failure("tuples are nested too deep") }
        stack.append(.tuple(elements, depth: depth))
    }

    private mutating func remember(_ key: Int) throws(PickleError) {
        guard let top = stack.last else { throw failure("the stack is empty") }
        memo[key] = top
    }

    private mutating func recall(_ key: Int) throws(PickleError) {
        guard let value = memo[key] else { throw failure("value \(key) was never stored") }
        stack.append(value)
    }

    private mutating func set(_ pairs: [Value]) throws(PickleError) {
        guard case .root? = stack.last, pairs.count % 2 == 0 else { throw failure("items without a dictionary") }
        for index in stride(from: 0, to: pairs.count, by: 2) {
            guard case .string(let name) = pairs[index] else { throw failure("a key is not a string") }
            guard case .tensor(let tensor) = pairs[index + 1] else { throw failure("\"\(name)\" is not a float tensor") }
            items.append((name, tensor))
        }
    }
}

// MARK: - What torch.save calls

extension TensorPickle {
    /// The persistent id `('storage', type, key, location, count)`; where the storage lived (cpu, cuda:0) does not matter.
    private func storage(_ identifier: Value) throws(PickleError) -> Value {
        guard case .tuple(let fields, _) = identifier, fields.count == 5, case .string("storage") = fields[0],
            case .name(let name) = fields[1], let type = name.storageType, case .string(let key) = fields[2],
            case .string = fields[3], case .integer(let count) = fields[4], count >= 0
        else { throw failure("a storage is not described as torch.save does") }
        return .storage(key: key, type, count: count)
    }

    private func reduce(_ call: [Value]) throws(PickleError) -> Value {
        guard case .name(let name) = call[0], case .tuple(let arguments, _) = call[1] else {
            throw failure("a call is not one of torch.save's")
        }
        switch name {
        case .orderedDict where arguments.isEmpty: return .noHooks
        case .rebuildTensor: return .tensor(try tensor(arguments))
        case .rebuildParameter:
            guard arguments.count == 3, case .tensor(let tensor) = arguments[0], case .bool = arguments[1],
                case .noHooks = arguments[2]
            else { throw failure("a parameter is not described as torch.save does") }
            return .tensor(tensor)
        default: throw failure("a call is not one of torch.save's")
        }
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`
    private func tensor(_ arguments: [Value]) throws(PickleError) -> PickledTensor {
        guard arguments.count == 6, case .storage(let key, let type, let count) = arguments[0],
            case .integer(let offset) = arguments[1], let shape = integers(arguments[2]), let strides = integers(arguments[3]),
            case .bool = arguments[4], case .noHooks = arguments[5]
        else { throw failure("a tensor is not described as torch.save does") }
        guard shape.count <= 8 else { throw failure("a tensor has \(shape.count) axes; at most 8 are read") }
        guard shape.count == strides.count, offset >= 0, !strides.contains(where: { $0 < 0 }),
            let elements = elementCount(shape)
        else { throw failure("a tensor has shape \(shape) and strides \(strides)") }
        let tensor = PickledTensor(
            storage: key, type: type, storageCount: count, offset: offset, shape: shape, strides: strides)
        guard elements == 0 || tensor.lastElement.map({ $0 < count }) == true, elements <= count else {
            throw failure("a tensor of shape \(shape) reaches outside its storage of \(count) elements")
        }
        return tensor
    }

    private func integers(_ value: Value) -> [Int]? {
        guard case .tuple(let elements, _) = value else { return nil }
        let integers = elements.compactMap { if case .integer(let integer) = $0 { integer } else { nil } }
        return integers.count == elements.count ? integers : nil
    }
}

extension PickledTensor {
    /// The largest position in the storage; nil if it overflows. - Precondition: no extent is zero.
    fileprivate var lastElement: Int? {
        var last = offset
        for (extent, stride) in zip(shape, strides) {
            let (step, overflowed) = (extent - 1).multipliedReportingOverflow(by: stride)
            let (next, carried) = last.addingReportingOverflow(step)
            if overflowed || carried { return nil }
            last = next
        }
        return last
    }

    /// Whether the elements follow each other row by row. Strides of axes of extent 1 do not matter.
    var isContiguous: Bool {
        var expected = 1
        for (extent, stride) in zip(shape, strides).reversed() where extent != 1 {
            if stride != expected { return false }
            expected *= extent
        }
        return true
    }
}
