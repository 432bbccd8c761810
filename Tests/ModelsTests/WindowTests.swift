import Autograd
import Models
import TensorCore
import TestSupport
import Testing

/// Sliding windows: attention to the last tokens only.
@Suite struct WindowTests {
    /// Outputs and gradients of one head, element by element in double precision: key j is visible to query i if
    /// i − window < j ≤ i.
    private func expected(
        _ q: Tensor, _ k: Tensor, _ v: Tensor, _ dO: Tensor, window: Int
    ) -> (o: Tensor, dQ: Tensor, dK: Tensor, dV: Tensor) {
        let (n, d) = (q.rows, q.columns)
        var (o, dQ, dK, dV) = (Tensor(zeros: [n, d]), Tensor(zeros: [n, d]), Tensor(zeros: [n, d]), Tensor(zeros: [n, d]))
        let scale = 1 / Double(d).squareRoot()
        func dot(_ a: Tensor, _ i: Int, _ b: Tensor, _ j: Int) -> Double {
            (0..<d).reduce(0) { $0 + Double(a[i, $1]) * Double(b[j, $1]) }
        }
        for i in 0..<n {
            let keys = max(0, i - window + 1)...i
            let weights = keys.map { exponential(scale * dot(q, i, k, $0)) }
            let sum = weights.reduce(0, +)
            let p = weights.map { $0 / sum }
            for (j, p) in zip(keys, p) { for c in 0..<d { o[i, c] += Float(p * Double(v[j, c])) } }
            let dP = keys.map { dot(dO, i, v, $0) }
            let mean = zip(p, dP).reduce(0) { $0 + $1.0 * $1.1 }
            for (index, j) in keys.enumerated() {
                let slope = p[index] * (dP[index] - mean) * scale
                for c in 0..<d {
                    dQ[i, c] += Float(slope * Double(k[j, c]))
                    dK[j, c] += Float(slope * Double(q[i, c]))
                    dV[j, c] += Float(p[index] * Double(dO[i, c]))
                }
            }
        }
        return (o, dQ, dK, dV)
    }

    private func exponential(_ x: Double) -> Double {
        // Scores are small here: the series converges.
        var (term, sum) = (1.0, 1.0)
        for i in 1..<60 {
            term *= x / Double(i)
            sum += term
        }
        return sum
    }

    @Test(arguments: [1, 2, 8, 63, 64, 65, 100, 149, 150, 1000])
    func `attention within a window and its gradients are those of the definition`(window: Int) throws {
        var random = RandomStream(seed: 3)
        let (n, d) = (150, 4)
        let tensors = (0..<4).map { _ in Tensor(normal: [n, d], from: &random) }
        let (q, k, v) = (Variable(parameter: tensors[0]), Variable(parameter: tensors[1]), Variable(parameter: tensors[2]))
        let tape = Tape()
        let shape = AttentionShape(sequences: 1, length: n, heads: 1, keyValueHeads: 1, headDimension: d, window: window)
        let output = tape.causalAttention(q, k, v, shape)
        tape.backward(from: output, gradient: tensors[3])
        let truth = expected(tensors[0], tensors[1], tensors[2], tensors[3], window: window)
        #expect(relativeError(output.value, truth.o) < 1e-5)
        #expect(relativeError(try #require(q.gradient), truth.dQ) < 1e-5 || window == 1)
        #expect(relativeError(try #require(k.gradient), truth.dK) < 1e-5 || window == 1)
        #expect(relativeError(try #require(v.gradient), truth.dV) < 1e-5)
        if window == 1 {
            for variable in [q, k] { #expect(try #require(variable.gradient).maxMagnitude < 1e-5) }
        }
    }

    @Test func `a window as long as the sequence changes no bit`() {
        var random = RandomStream(seed: 4)
        let tensors = (0..<3).map { _ in Variable(constant: Tensor(normal: [2 * 90, 16], from: &random)) }
        func output(_ window: Int?) -> Tensor {
            Tape(recording: false).causalAttention(
                tensors[0], tensors[1], tensors[2],
                AttentionShape(sequences: 2, length: 90, heads: 2, keyValueHeads: 2, headDimension: 8, window: window)
            ).value
        }
        #expect(maxDifference(output(90), output(nil)) == 0 && maxDifference(output(4096), output(nil)) == 0)
        #expect(maxDifference(output(89), output(nil)) > 0)
    }

    @Test func `decoding with a cache gives the full pass, window or not`() {
        for windows in [[], [nil, 3, 7, nil], [5, 5]] as [[Int?]] {
            let configuration = TinyModel.configuration(windows: windows)
            let parameters = TinyModel.parameters(configuration).map { _, tensor in Variable(constant: tensor) }
            let model = configuration.description.model(positions: 20)
            let tokens = (0..<20).map { Int32($0 * 7 % 32) }
            let full = model.hiddenStates(
                .tokens(tokens), parameters, context: CausalBatch(sequences: 1, length: 20), on: Tape(recording: false)
            ).value
            let drawing = SequenceDrawing(model, parameters, length: 20, seed: 1, streams: 0..<1)
            for (position, token) in tokens.enumerated() {
                let step = drawing.advance(.tokens([token]))
                #expect(maxDifference(step, full.rows(position..<position + 1)) < 1e-5, "\(windows), \(position)")
            }
        }
    }

    @Test func `two stages use the windows of their own layers, bit for bit`() {
        let configuration = TinyModel.configuration(windows: [nil, 3, nil, 5])
        let whole = TinyModel.parameters(configuration).map { _, tensor in Variable(constant: tensor) }
        let model = configuration.description.model(positions: 16)
        let (batch, tape) = (CausalBatch(sequences: 1, length: 16), Tape(recording: false))
        let tokens = StageInput.tokens((0..<16).map { Int32($0 * 5 % 32) })
        let expected = model.hiddenStates(tokens, whole, context: batch, on: tape).value
        for cut in 1..<8 {
            let none = ParameterGroup<Variable>([], [])
            let first = Parameters(
                firstBlock: 0, entry: whole.entry, blocks: Array(whole.blocks[..<cut]), exit: none, isLast: false)
            let second = Parameters(
                firstBlock: cut, entry: none, blocks: Array(whole.blocks[cut...]), exit: whole.exit, isLast: true)
            let between = model.hiddenStates(tokens, first, context: batch, on: tape)
            let output = model.hiddenStates(.hidden(between), second, context: batch, on: tape).value
            #expect(maxDifference(output, expected) == 0, "cut before block \(cut)")
        }
    }

    @Test func `operations of a window are counted as seen`() {
        let full = ModelCost(TinyModel.configuration().architecture).attention(sequences: 2, length: 10)
        #expect(
            ModelCost(TinyModel.configuration(windows: [nil, 10]).architecture).attention(sequences: 2, length: 10) == full)
        // 10 queries see 1, 2, 3, 3, … tokens instead of 1, 2, 3, …, 10; two products of 16 columns, two sequences.
        let seen = ModelCost(TinyModel.configuration(windows: [nil, 3]).architecture).attention(sequences: 2, length: 10)
        #expect(full - seen == Double(2 * 16 * 2 * (55 - 27)))
    }
}
