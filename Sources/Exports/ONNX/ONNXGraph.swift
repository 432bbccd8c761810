internal import Support
internal import TensorCore
internal import TernarySVD

/// Linears as ternary factors in ONNX (opset 21): each a chain from `NAME.input` [tokens, n] to `NAME.output` [tokens, m],
///
///     (b∘x) → MatMulNBits by diag(s)·V → MatMulNBits by diag(a)·U (→ + bias),
///
/// with entries as 2-bit codes 0, 1, 2, zero point 1, and the scale of a row repeated for each of its blocks: exact. The
/// multiplication by b is there where the layer is balanced, the sum where it has a bias. `com.microsoft.MatMulNBits`, version
/// 1: B [N, blocks, size/4] with the lowest bits first, zero points four to a byte.
struct ONNXGraph {
    /// Columns that share a scale; a power of two, 16 at least.
    static let blockLength = 32
    /// Codes that a byte of B or of zero points holds, and −1, 0, 1's codes are these values plus one.
    private static let codesPerByte = 4
    private static let zeroPoints = UInt8(0b01_01_01_01)
    private enum DataType { static let float = 1, uint8 = 2 }

    /// A tensor that the graph holds.
    struct Initializer: Equatable {
        let name: String
        let shape: [Int]
        let type: Int
        let bytes: [UInt8]
    }

    private(set) var initializers: [Initializer] = []
    private var nodes: [ProtobufMessage] = []
    private var values: (inputs: [ProtobufMessage], outputs: [ProtobufMessage]) = ([], [])

    /// - Parameter bias: `[m]`; nil for a layer without.
    mutating func add(_ name: String, _ factors: TernaryFactors, bias: Tensor? = nil) {
        let (input, output, inner) = ("\(name).input", "\(name).output", "\(name).components")
        values.inputs.append(Self.value(input, tokens: "\(name).tokens", width: factors.v.columns))
        values.outputs.append(Self.value(output, tokens: "\(name).tokens", width: factors.u.rows))
        var read = input
        if let balance = factors.balance {
            read = "\(name).scaled"
            add(floats: "\(name).b", balance.b, [balance.b.count])
            nodes.append(Self.node("Mul", [input, "\(name).b"], read))
        }
        product("\(name).V", factors.v, scales: factors.s, read, inner)
        let product = bias == nil ? output : "\(name).product"
        self.product(
            "\(name).U", factors.u, scales: factors.balance?.a ?? [Float](repeating: 1, count: factors.u.rows), inner, product)
        guard let bias else { return }
        add(floats: "\(name).bias", bias.elements, bias.shape)
        nodes.append(Self.node("Add", [product, "\(name).bias"], output))
    }

    /// y = x·(diag(scales)·T)ᵀ.
    private mutating func product(_ name: String, _ matrix: PackedTernary, scales: [Float], _ input: String, _ output: String) {
        let blocks = (matrix.columns + Self.blockLength - 1) / Self.blockLength
        let codes = Self.codes(matrix.unpacked, blocks: blocks)
        initializers.append(
            Initializer(
                name: name, shape: [matrix.rows, blocks, Self.blockLength / Self.codesPerByte], type: DataType.uint8,
                bytes: codes))
        add(floats: "\(name).scales", scales.flatMap { [Float](repeating: $0, count: blocks) }, [matrix.rows * blocks])
        let zeros = (blocks + Self.codesPerByte - 1) / Self.codesPerByte
        initializers.append(
            Initializer(
                name: "\(name).zeros", shape: [matrix.rows * zeros], type: DataType.uint8,
                bytes: [UInt8](repeating: Self.zeroPoints, count: matrix.rows * zeros)))
        nodes.append(
            Self.node(
                "MatMulNBits", [input, name, "\(name).scales", "\(name).zeros"], output, domain: "com.microsoft",
                ["K": matrix.columns, "N": matrix.rows, "bits": 2, "block_size": Self.blockLength]))
    }

    /// Of rows that are filled up to whole blocks with zeros.
    private static func codes(_ matrix: Tensor, blocks: Int) -> [UInt8] {
        let (rows, columns) = (matrix.rows, matrix.columns)
        let stride = blocks * blockLength / codesPerByte
        var bytes = [UInt8](repeating: zeroPoints, count: rows * stride)
        matrix.withElements { entries in
            for i in 0..<rows {
                for j in 0..<columns where entries[i * columns + j] != 0 {
                    // From code 1 to 0 or 2, in two bits of the byte.
                    let (place, shift) = (i * stride + j / codesPerByte, UInt8(2 * (j % codesPerByte)))
                    bytes[place] ^= (entries[i * columns + j] < 0 ? 0b01 : 0b11) << shift
                }
            }
        }
        return bytes
    }

    private mutating func add(floats name: String, _ values: [Float], _ shape: [Int]) {
        let bytes = values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> (8 * $0)) } }
        initializers.append(Initializer(name: name, shape: shape, type: DataType.float, bytes: bytes))
    }

    private static func node(
        _ type: String, _ inputs: [String], _ output: String, domain: String = "", _ attributes: [String: Int] = [:]
    ) -> ProtobufMessage {
        var node = ProtobufMessage()
        for input in inputs { node.add(1, input) }
        node.add(2, output)
        node.add(3, output)
        node.add(4, type)
        for (name, value) in attributes.sorted(by: { $0.key < $1.key }) {
            node.add(5) {
                $0.add(1, name)
                $0.add(3, value)
                $0.add(20, 2)  // an integer
            }
        }
        if !domain.isEmpty { node.add(7, domain) }
        return node
    }

    /// Floats of [tokens, width].
    private static func value(_ name: String, tokens: String, width: Int) -> ProtobufMessage {
        var value = ProtobufMessage()
        value.add(1, name)
        value.add(2) { type in
            type.add(1) { tensor in
                tensor.add(1, DataType.float)
                tensor.add(2) { shape in
                    shape.add(1) { $0.add(2, tokens) }
                    shape.add(1) { $0.add(1, width) }
                }
            }
        }
        return value
    }

    /// What a file begins with: the tag of the IR version, which writers put first.
    static let beginning: [UInt8] = [1 << 3]

    /// The file's bytes.
    func model(metadata: [(key: String, value: String)]) -> [UInt8] {
        var model = ProtobufMessage()
        model.add(1, 10)  // IR version of opset 21
        model.add(2, ProgramVersion.name)
        model.add(7) { graph in
            for node in nodes { graph.add(1, node.bytes) }
            graph.add(2, "ternary factors")
            for tensor in initializers {
                graph.add(5) {
                    for extent in tensor.shape { $0.add(1, extent) }
                    $0.add(2, tensor.type)
                    $0.add(8, tensor.name)
                    $0.add(9, tensor.bytes)
                }
            }
            for input in values.inputs { graph.add(11, input.bytes) }
            for output in values.outputs { graph.add(12, output.bytes) }
        }
        for (domain, version) in [("", 21), ("com.microsoft", 1)] {
            model.add(8) {
                $0.add(1, domain)
                $0.add(2, version)
            }
        }
        for (key, value) in metadata {
            model.add(14) {
                $0.add(1, key)
                $0.add(2, value)
            }
        }
        return model.bytes
    }

    /// The tensors that a file holds; nil where it is no such file.
    static func initializers(of bytes: [UInt8]) -> [Initializer]? {
        guard let graph = ProtobufFields(bytes[...])?.messages(7)?.first, let tensors = graph.messages(5) else { return nil }
        return tensors.map {
            Initializer(
                name: $0.texts(8).first ?? "", shape: $0.integers(1), type: $0.integers(2).first ?? 0,
                bytes: Array($0.bytes(9).first ?? []))
        }
    }
}
