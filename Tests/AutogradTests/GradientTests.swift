import TensorCore
import Testing

@testable import Autograd

/// Derivatives against differences of the function itself: (f(x + ε) − f(x − ε))/2ε.
@Suite struct GradientTests {
    private static let step: Float = 1.0 / 128

    /// Σ r∘f(inputs) with a fixed random r, which weighs every output.
    private func check(
        _ inputs: [Tensor], tolerance: Float = 2e-3, _ function: (Tape, [Variable]) -> Variable,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let tape = Tape()
        let variables = inputs.map { Variable(parameter: $0) }
        let y = function(tape, variables)
        var random = RandomStream(seed: 9)
        let weights = Tensor(normal: y.shape, from: &random)
        func value(_ inputs: [Tensor]) -> Double {
            let result = function(Tape(recording: false), inputs.map { Variable(constant: $0) }).value
            return zip(result.elements, weights.elements).reduce(0) { $0 + Double($1.0) * Double($1.1) }
        }
        tape.backward(from: y, gradient: weights)
        for (index, input) in inputs.enumerated() {
            guard let gradient = variables[index].gradient else {
                Issue.record("no gradient for input \(index)", sourceLocation: sourceLocation)
                continue
            }
            let scale = max(1, gradient.maxMagnitude)
            for place in 0..<input.count {
                var (above, below) = (inputs, inputs)
                above[index].mutablePointer[place] += Self.step
                below[index].mutablePointer[place] -= Self.step
                let slope = Float((value(above) - value(below)) / Double(2 * Self.step))
                #expect(
                    abs(slope - gradient[flat: place]) <= tolerance * scale, "input \(index), entry \(place)",
                    sourceLocation: sourceLocation)
            }
        }
    }

    /// 19 and 37 columns: beyond a vector's width, and no multiple of it.
    @Test(arguments: [1, 8, 19, 37]) func `LayerNorm's gradients are those of its definition`(columns: Int) {
        var random = RandomStream(seed: UInt64(columns))
        let x = Tensor(normal: [3, columns], from: &random)
        let (gain, shift) = (Tensor(normal: [columns], from: &random), Tensor(normal: [columns], from: &random))
        check([x, gain, shift]) { $0.layerNorm($1[0], gain: $1[1], shift: $1[2], epsilon: 0.1) }
        check([x]) { $0.layerNorm($1[0], gain: nil, shift: nil, epsilon: 0.1) }
        check([x, shift]) { $0.layerNorm($1[0], gain: nil, shift: $1[1], epsilon: 0.1) }
    }

    /// Each is made when it is asked for: none may take the memory of another that is still read.
    @Test func `factors of norms that are made on demand are those in memory`() {
        var random = RandomStream(seed: 5)
        let (x, gain, shift) = (
            Tensor(normal: [3, 64], from: &random), Tensor(normal: [64], from: &random), Tensor(normal: [64], from: &random)
        )
        func changed(_ value: Tensor) -> Variable {
            Variable(constant: StoredTensor(value).deferred.mapped { _ in })
        }
        let tape = Tape(recording: false)
        let input = Variable(constant: x)
        let norm = tape.layerNorm(input, gain: Variable(constant: gain), shift: Variable(constant: shift), epsilon: 1e-5)
        #expect(
            tape.layerNorm(input, gain: changed(gain), shift: changed(shift), epsilon: 1e-5).value.elements
                == norm.value.elements)
        #expect(
            tape.rmsNorm(changed(x), gain: changed(gain), epsilon: 1e-5).value.elements
                == tape.rmsNorm(input, gain: Variable(constant: gain), epsilon: 1e-5).value.elements)
    }

    @Test func `LayerNorm takes mean and deviation of each row away`() {
        var random = RandomStream(seed: 3)
        let x = Tensor(normal: [4, 21], from: &random)
        let y = Tape(recording: false).layerNorm(
            Variable(constant: x), gain: Variable(constant: Tensor(repeating: 2, [21])),
            shift: Variable(constant: Tensor(repeating: 5, [21])), epsilon: 1e-5
        ).value
        for row in 0..<4 {
            let values = (0..<21).map { Double(x[row, $0]) }
            let mean = values.reduce(0, +) / 21
            let deviation = (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 21 + 1e-5).squareRoot()
            for j in 0..<21 { #expect(abs(Double(y[row, j]) - (2 * (values[j] - mean) / deviation + 5)) < 1e-5) }
        }
    }

    @Test func `ReLU's gradient is 1 above 0 and 0 below`() {
        // No entry within a step of the kink.
        let x = Tensor((0..<37).map { Float($0 % 5 - 2) + 0.25 }, [1, 37])
        check([x]) { $0.relu($1[0]) }
        let nan = Tape(recording: false).relu(Variable(constant: Tensor([.nan, -1, 1], [1, 3]))).value
        #expect(nan[flat: 0].isNaN && nan[flat: 1] == 0 && nan[flat: 2] == 1)
    }

    @Test func `rows of a table gather the gradients of all places that they were looked up for`() {
        var random = RandomStream(seed: 4)
        check([Tensor(normal: [5, 3], from: &random)]) { $0.embedding([2, 3, 4, 2, 3, 2], table: $1[0]) }
    }
}
