import TensorCore
import TestSupport
import Testing

@testable import Autograd

/// Large enough that each operation is shared.
@Suite struct TeamTests {
    private typealias Operation = @Sendable ([Variable], Tape) -> Variable

    private static let attention = AttentionShape(sequences: 2, length: 192, heads: 4, keyValueHeads: 2, headDimension: 64)
    private static let tokens: [Int32] = (0..<384).map { Int32($0 * $0 % 90) }
    private static let table = RotaryTable(frequencies: (0..<32).map { 1 / Double($0 + 1) }, positions: 192)

    /// Name, shapes of the inputs, what is done with them.
    private static let operations: [(name: String, shapes: [[Int]], body: Operation)] = [
        ("linear", [[384, 256], [300, 256], [300]], { $1.linear($0[0], LinearLayer(weight: $0[1], bias: $0[2])) }),
        ("rmsNorm", [[384, 256], [256]], { $1.rmsNorm($0[0], gain: $0[1], epsilon: 1e-5) }),
        ("layerNorm", [[384, 256], [256], [256]], { $1.layerNorm($0[0], gain: $0[1], shift: $0[2], epsilon: 1e-5) }),
        ("swiGLU", [[384, 300], [384, 300]], { $1.swiGLU(gate: $0[0], up: $0[1]) }),
        ("relu", [[384, 300]], { $1.relu($0[0]) }),
        ("add", [[384, 300], [384, 300]], { $1.add($0[0], $0[1]) }),
        ("rotary", [[384, 256]], { $1.rotary($0[0], table, length: 192) }),
        ("attention", [[384, 256], [384, 128], [384, 128]], { $1.causalAttention($0[0], $0[1], $0[2], attention) }),
        ("embedding", [[90, 256]], { $1.embedding(tokens, table: $0[0]) }),
        (
            "cross entropy", [[384, 256], [90, 256]],
            { $1.languageModelLoss($0[0], head: $0[1], .tokens(tokens), scale: 1).loss }
        ),
    ]

    /// The value and all gradients.
    private func results(_ shapes: [[Int]], _ operation: Operation) -> [[Float]] {
        var random = RandomStream(seed: 3)
        let inputs = shapes.map { Variable(parameter: Tensor(normal: $0, from: &random)) }
        let tape = Tape()
        let output = operation(inputs, tape)
        tape.backward(from: output, gradient: Tensor(normal: output.shape, from: &random))
        return [output.value.elements] + inputs.map { $0.gradient?.elements ?? [] }
    }

    @Test(arguments: operations.indices) func `no value and no gradient depends on the threads`(_ index: Int) {
        let (name, shapes, body) = Self.operations[index]
        let alone = withThreads(1) { results(shapes, body) }
        #expect(alone.allSatisfy { !$0.isEmpty }, "\(name)")
        for threads in [2, 5] {
            #expect(withThreads(threads) { results(shapes, body) } == alone, "\(name), \(threads) threads")
        }
    }
}
