import TensorCore
import TestSupport
import Testing

@testable import Autograd

/// Every operation's derivative against differences of its value, and not against another derivative.
@Suite struct FiniteDifferenceTests {
    /// Checks ∂⟨weights, operation(inputs)⟩/∂input for every entry of every input, where `weights` are random.
    ///
    /// Differences over ±h and ±h/2 are combined so that the error is of order h⁴ (Richardson); float32 then leaves about 1e-4.
    private func check(
        _ inputs: [Tensor], step: Float = 0x1p-4, tolerance: Double = 1e-3, _ operation: ([Variable], Tape) -> Variable
    ) throws {
        let variables = inputs.map { Variable(parameter: $0) }
        let tape = Tape()
        let output = operation(variables, tape)
        var random = RandomStream(seed: 51)
        let weights = Tensor(normal: output.shape, from: &random)
        func value(_ inputs: [Tensor]) -> Double {
            let y = operation(inputs.map { Variable(constant: $0) }, Tape(recording: false)).value
            return zip(y.elements, weights.elements).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
        }
        tape.backward(from: output, gradient: weights)
        for (index, variable) in variables.enumerated() {
            let gradient = try #require(variable.gradient, "input \(index)")
            var expected = Tensor(zeros: inputs[index].shape)
            for entry in 0..<inputs[index].count {
                func slope(_ h: Float) -> Double {
                    var (more, less) = (inputs, inputs)
                    more[index][flat: entry] += h
                    less[index][flat: entry] -= h
                    return (value(more) - value(less)) / Double(more[index][flat: entry] - less[index][flat: entry])
                }
                expected[flat: entry] = Float((4 * slope(step / 2) - slope(step)) / 3)
            }
            #expect(relativeError(gradient, expected) < tolerance, "input \(index)")
        }
    }

    private func normal(_ shape: [Int], seed: UInt64, deviation: Double = 1) -> Tensor {
        var random = RandomStream(seed: seed)
        return Tensor(normal: shape, deviation: deviation, from: &random)
    }

    @Test func `sums, and a value used twice`() throws {
        try check([normal([3, 5], seed: 1), normal([3, 5], seed: 2)]) { x, tape in tape.add(tape.add(x[0], x[1]), x[0]) }
    }

    @Test func `SwiGLU`() throws {
        try check([normal([3, 7], seed: 3, deviation: 2), normal([3, 7], seed: 4)]) { x, tape in
            tape.swiGLU(gate: x[0], up: x[1])
        }
    }

    @Test func `an embedding, with tokens that come again`() throws {
        try check([normal([6, 4], seed: 5)]) { x, tape in tape.embedding([2, 0, 2, 5, 2], table: x[0]) }
    }

    @Test func `linear layers that share an input, with and without a bias`() throws {
        let inputs = [
            normal([4, 5], seed: 6), normal([3, 5], seed: 7), normal([3], seed: 8), normal([3, 5], seed: 9),
        ]
        try check(inputs) { x, tape in
            let y = tape.linears(x[0], [LinearLayer(weight: x[1], bias: x[2]), LinearLayer(weight: x[3])])
            return tape.add(tape.swiGLU(gate: y[0], up: y[1]), y[1])
        }
    }

    @Test(arguments: [false, true]) func `a product with a constant`(transposed: Bool) throws {
        let r = normal(transposed ? [3, 5] : [5, 3], seed: 10)
        try check([normal([4, 5], seed: 11)]) { x, tape in tape.product(x[0], constant: r, transposed: transposed) }
    }

    /// Rows as a whole, and each head of a row.
    @Test(arguments: [nil, 4] as [Int?]) func `RMSNorm with a gain`(width: Int?) throws {
        try check([normal([3, 12], seed: 12), normal([width ?? 12], seed: 13)]) { x, tape in
            tape.rmsNorm(x[0], gain: x[1], epsilon: 1e-2, width: width)
        }
    }

    @Test func `RMSNorm without a gain`() throws {
        try check([normal([3, 9], seed: 14)]) { x, tape in tape.rmsNorm(x[0], gain: nil, epsilon: 1e-2) }
    }

    @Test func `the rotary embedding of two sequences`() throws {
        let table = RotaryTable(frequencies: [1, 0.3, 0.01], positions: 3)
        try check([normal([6, 12], seed: 15)]) { x, tape in tape.rotary(x[0], table, length: 3) }
    }

    /// Each head with its own keys, two heads to one, and all to one; the length crosses a block of query rows in the last
    /// case.
    @Test(arguments: [(2, 4, 2, 2), (2, 5, 4, 2), (1, 6, 3, 1), (1, 131, 2, 1)])
    func `causal attention`(_ shape: (sequences: Int, length: Int, heads: Int, keyValueHeads: Int)) throws {
        let d = shape.length > 100 ? 1 : 4
        let attention = AttentionShape(
            sequences: shape.sequences, length: shape.length, heads: shape.heads, keyValueHeads: shape.keyValueHeads,
            headDimension: d)
        let rows = shape.sequences * shape.length
        try check([
            normal([rows, shape.heads * d], seed: 16), normal([rows, shape.keyValueHeads * d], seed: 17),
            normal([rows, shape.keyValueHeads * d], seed: 18),
        ]) { x, tape in tape.causalAttention(x[0], x[1], x[2], attention) }
    }

    @Test func `attention does not look ahead`() {
        let shape = AttentionShape(sequences: 1, length: 5, heads: 1, keyValueHeads: 1, headDimension: 4)
        let (q, k, v) = (normal([5, 4], seed: 19), normal([5, 4], seed: 20), normal([5, 4], seed: 21))
        func outputs(_ k: Tensor, _ v: Tensor) -> Tensor {
            Tape(recording: false).causalAttention(Variable(constant: q), Variable(constant: k), Variable(constant: v), shape)
                .value
        }
        var (laterKeys, laterValues) = (k, v)
        for j in 0..<4 { (laterKeys[3, j], laterValues[3, j]) = (9, -9) }
        let (before, after) = (outputs(k, v), outputs(laterKeys, laterValues))
        #expect(before.rows(0..<3).elements == after.rows(0..<3).elements)
        #expect(before.rows(3..<5).elements != after.rows(3..<5).elements)
    }

    @Test func `a body that is computed again in the backward pass`() throws {
        try check([normal([3, 6], seed: 22), normal([6], seed: 23)]) { x, tape in
            tape.recomputing { tape in tape.add(tape.rmsNorm(x[0], gain: x[1], epsilon: 1e-2), x[0]) }
        }
    }

    /// One position is not counted.
    @Test func `cross entropy, through the head`() throws {
        var tokens = (0..<5).map { Int32($0 * 3 % 7) }
        tokens[2] = -1
        try check([normal([5, 4], seed: 24), normal([7, 4], seed: 25)]) { x, tape in
            tape.languageModelLoss(x[0], head: x[1], .tokens(tokens), scale: 0.25).loss
        }
    }

    @Test func `divergence from a teacher, through the head`() throws {
        let teacher = LogitTarget.teacher(
            hidden: normal([5, 4], seed: 26), head: Variable(constant: normal([7, 4], seed: 27)))
        try check([normal([5, 4], seed: 28), normal([7, 4], seed: 29)]) { x, tape in
            tape.languageModelLoss(x[0], head: x[1], teacher, scale: 0.25).loss
        }
    }
}
