import LinearAlgebra
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

/// Rows and columns next to nothing, which an optimizer moves by many times their size.
@Suite struct WeakChannelTests {
    private static let (rows, columns) = (48, 80)

    /// A layer's weight, some of its channels weak.
    private func weight(
        _ factor: Float = 1, row: Int? = nil, column: Int? = nil, shape: [Int] = [rows, columns]
    ) -> Tensor {
        var random = RandomStream(seed: 5)
        var w = Tensor(normal: shape, deviation: 0.05, from: &random)
        if let row { for j in 0..<w.columns { w[row, j] *= factor } }
        if let column { for i in 0..<w.rows { w[i, column] *= factor } }
        return w
    }

    private var options: TernaryOptions {
        var options = TernaryOptions(tolerance: 0.2)
        (options.balance, options.economy) = (true, false)
        return options
    }

    static let places: [(row: Int?, column: Int?)] = [(7, nil), (nil, 9), (7, 9)]

    @Test(arguments: [1e-2, 1e-3, 1e-6, 1e-24, 1e-38, 0] as [Float], places.indices)
    func `a weak row, a weak column, or both cost what healthy ones do`(_ factor: Float, _ place: Int) throws {
        let (row, column) = Self.places[place]
        let healthy = try TernaryDecomposition(weight(), options)
        let w = weight(factor, row: row, column: column)
        let weak = try TernaryDecomposition(w, options)
        // One channel of forty-eight may vanish, and another matrix takes a few entries more or less.
        #expect(abs(Float(weak.nonzeros) / Float(healthy.nonzeros) - 1) < 0.06)
        #expect(weak.relativeError < 0.2)
        let balance = try #require(weak.balance)
        #expect((balance.a + balance.b).allSatisfy { $0 >= .leastNormalMagnitude && $0.isFinite })
        #expect(weak.reconstruction().isFinite && balance.applied(to: w).isFinite)
    }

    /// What became of a layer in training.
    private struct Trained {
        /// Non-zeros of U and V.
        let first: Int, last: Int
        /// ‖ρ‖.
        let error: Double
    }

    /// Steps as AdamW takes them, of one size whatever the weight's.
    private func train(_ w: Tensor, steps: Int = 12) throws -> Trained {
        let transition = try LayerTransition(options, pruneRate: 0)
        var state = try transition.begun(w)
        let first = state.u.nonzeroCount + state.v.nonzeroCount
        var (adaptation, factor) = (Adaptation(budget: first), CholeskyFactor?.none)
        var random = RandomStream(seed: 6)
        let direction = Tensor(normal: w.shape, deviation: 1, from: &random)
        for step in 1...steps {
            for i in 0..<w.count { state.weight[flat: i] += direction[flat: i] < 0 ? -5e-4 : 5e-4 }
            let target = state.weight + state.rest
            let update = try transition.step(state, adapts: step % 4 == 0, follows: true, &adaptation, keeping: &factor)
            #expect(!update.isRefusal)
            state = transition.applied(update, to: state)
            #expect(maxDifference(state.weight + state.rest, target) <= 1e-6)
        }
        return Trained(
            first: first, last: state.u.nonzeroCount + state.v.nonzeroCount, error: state.rest.squaredNorm.squareRoot())
    }

    /// A Llama's linear layers: hidden size 64, half of it for keys and values, and 128 inside the network.
    static let roles: [(name: String, shape: [Int])] = [
        ("q_proj, o_proj", [64, 64]), ("k_proj, v_proj", [32, 64]), ("gate_proj, up_proj", [128, 64]),
        ("down_proj", [64, 128]),
    ]

    @Test(arguments: roles.indices, places.indices)
    func `training with a weak channel keeps a layer's additions, and errs as with a healthy one`(
        _ role: Int, _ place: Int
    ) throws {
        let (role, channel) = (Self.roles[role], Self.places[place])
        let healthy = try train(weight(shape: role.shape))
        for factor in [1e-2, 1e-3, 1e-4, 1e-10, 1e-30, 0] as [Float] {
            let weak = try train(weight(factor, row: channel.row, column: channel.column, shape: role.shape))
            // Three steps do with the budget to half a percent, and the nine others leave the non-zeros alone.
            #expect(Double(weak.last) > 0.99 * Double(weak.first), "\(role.name), \(factor): \(weak)")
            // The first decomposition of so small a layer costs up to a tenth more or less for a channel, and errs accordingly.
            #expect(weak.error < 1.2 * healthy.error, "\(role.name), \(factor): \(weak), healthy \(healthy)")
        }
    }

    @Test func `a price that was too high gives back what it took`() throws {
        let w = weight()
        let transition = try LayerTransition(options, pruneRate: 0)
        let state = try transition.begun(w)
        let nonzeros = state.u.nonzeroCount + state.v.nonzeroCount
        var adaptation = Adaptation(budget: nonzeros, price: 12)
        let adapted = transition.applied(try transition.adapt(state, &adaptation), to: state)
        #expect(adapted.u.nonzeroCount + adapted.v.nonzeroCount <= nonzeros)
        #expect(Double(adapted.u.nonzeroCount + adapted.v.nonzeroCount) > 0.99 * Double(nonzeros))
        #expect(adaptation.price < 12)
    }

    @Test func `a balance stays to the bit while no channel has moved by a factor of two, and follows one that has`() throws {
        let w = weight()
        let balance = Balance(w)
        func following(_ change: (inout Tensor) -> Void) -> Balance? {
            var moved = w
            change(&moved)
            return balance.following(balance.applied(to: moved))
        }
        #expect(following { for j in 0..<Self.columns { $0[7, j] *= 1.8 } } == nil)
        for factor in [2.5, 1e3, 1e10, 0.4, 1e-3] as [Float] {
            let new = try #require(following { for j in 0..<Self.columns { $0[7, j] *= factor } })
            #expect(abs(new.a[7] / balance.a[7] / factor - 1) < 0.05)
            // All others stay where they were.
            #expect(abs(new.a[8] / balance.a[8] - 1) < 0.05 && abs(new.b[9] / balance.b[9] - 1) < 0.05)
        }
        // Nothing to follow: a channel at the least scale is as small as it likes.
        let weak = weight(1e-20, row: 7, column: 9)
        #expect(Balance(weak).following(Balance(weak).applied(to: weak)) == nil)
    }

    @Test func `an adaptation that would empty a layer is not made`() throws {
        var options = options
        options.balance = false
        let w = weight()
        let transition = try LayerTransition(options, pruneRate: 0)
        var state = try transition.begun(w)
        let nonzeros = state.u.nonzeroCount + state.v.nonzeroCount
        var adaptation = Adaptation(budget: nonzeros)
        // A step so large that all there was is nothing beside it.
        for i in 0..<Self.rows { for j in 0..<Self.columns { state.weight[i, j] += (i + j) % 2 == 0 ? 50 : -50 } }
        let update = try transition.adapt(state, &adaptation)
        #expect(update.isRefusal && update.branch == .refresh)
        state = transition.applied(update, to: state)
        #expect(state.u.nonzeroCount + state.v.nonzeroCount == nonzeros)
    }

    @Test func `orthogonal matrices and multiples of the identity are decomposed by both modes`() throws {
        let n = 96
        var random = RandomStream(seed: 8)
        let orthogonal = try orthonormalizedRows(Tensor(normal: [n, n], deviation: 1, from: &random))
        var identity = Tensor(identity: n)
        identity.scale(by: 0.1)
        for (matrix, mode) in [(identity, TernaryOptions.Mode.default), (orthogonal, .default), (identity, .reference)] {
            for economy in [false, true] {
                var options = TernaryOptions.unbalanced(0.3, mode: mode)
                options.economy = economy
                options.balance = mode == .default && !economy
                let result = try TernaryDecomposition(matrix, options)
                #expect(result.relativeError < 0.3)
                #expect(try (matrix - result.reconstruction()).spectralNorm() < 0.301 * matrix.spectralNorm())
            }
        }
    }

    @Test func `a tolerance that float32 cannot reach is a setting out of range, and the least allowed is named`() {
        for tolerance in [1e-6, 9e-6, 1e-30] as [Float] {
            #expect { try TernaryOptions(tolerance: tolerance).validate() } throws: { error in
                (error as? TernaryError)?.exitCode == .configuration && "\(error)".contains("1e-05")
            }
        }
        #expect(throws: Never.self) { try TernaryOptions(tolerance: 1e-5).validate() }
    }

    @Test func `what LAPACK cannot work on is the layer's fault, by name`() throws {
        var matrix = weight()
        matrix[3, 4] = .nan
        #expect { try TernaryError.naming("model.layers.3.q_proj") { try matrix.spectralNorm() } } throws: { error in
            (error as? TernaryError)?.exitCode == .data && "\(error)".hasPrefix("model.layers.3.q_proj: ")
        }
    }
}

extension Double {
    fileprivate var asFloat: Float { Float(self) }
}
