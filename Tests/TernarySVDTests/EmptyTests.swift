import TensorCore
import Testing

@testable import TernarySVD

@Suite struct EmptyTests {
    @Test func `a layer of zeros has rank 0, and packs, multiplies and moves on`() throws {
        let zeros = Tensor(zeros: [5, 7])
        let decomposition = try TernaryDecomposition(zeros, TernaryOptions.unbalanced(0.05))
        let factors = TernaryFactors(decomposition, tolerance: 0.05)
        #expect(factors.componentCount == 0 && factors.unpacked().elements == zeros.elements)
        #expect(factors.apply(Tensor(repeating: 1, [3, 7])).elements == [Float](repeating: 0, count: 15))
        let transition = try LayerTransition(TernaryOptions.unbalanced(0.05))
        var state = try transition.begun(zeros)
        state.weight[2, 2] = 1
        state = transition.applied(try transition.update(state), to: state)
        #expect(abs(state.weight[2, 2] - 1) < 0.06)
    }
}
