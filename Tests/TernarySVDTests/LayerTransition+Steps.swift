import LinearAlgebra
import TensorCore

@testable import TernarySVD

/// A layer's steps as training takes them, for a layer alone.
extension LayerTransition {
    /// The first projection of a weight.
    func begin(
        _ weight: Tensor, name: String = "the matrix", eachRound: () throws -> Void = {}
    ) throws -> TransitionUpdate {
        let made = try TernaryDecomposition(weight, options, name: name, eachRound: eachRound)
        return Self.begin(with: TernaryFactors(made, tolerance: options.tolerance, sparsity: options.sparsity))
    }

    /// The state after the first projection.
    func begun(_ weight: Tensor, with update: TransitionUpdate? = nil) throws -> TernaryLayerState {
        try applied(update ?? begin(weight), to: .empty(weight))
    }

    /// A step without an adaptation.
    func update(
        _ state: TernaryLayerState, name: String = "the matrix", order: ([Int]) -> [Int] = { $0 },
        eachRound: () throws -> Void = {}
    ) throws -> TransitionUpdate {
        var (adaptation, factor) = (Adaptation(budget: 0), CholeskyFactor?.none)
        return try step(
            state, name: name, adapts: false, follows: false, &adaptation, keeping: &factor, order: order, eachRound: eachRound)
    }

    /// A step with an adaptation.
    func adapt(_ state: TernaryLayerState, _ adaptation: inout Adaptation) throws -> TransitionUpdate {
        var factor: CholeskyFactor?
        return try step(state, adapts: true, follows: true, &adaptation, keeping: &factor)
    }

    func applied(_ update: TransitionUpdate, to state: TernaryLayerState) -> TernaryLayerState {
        var (result, sum) = (state, TernarySum(u: state.u, v: state.v))
        apply(update, to: &result, &sum)
        return result
    }
}

extension TernaryDecomposition {
    /// The matrix that the factors stand for.
    func reconstruction() -> Tensor { TernaryFactors(self, tolerance: 0).unpacked() }
}
