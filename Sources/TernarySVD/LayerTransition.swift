package import LinearAlgebra
internal import Support
package import TensorCore

/// The state of a ternary layer between steps: W, the residual ρ that the last projection cut off, and the factors.
package struct TernaryLayerState: Sendable {
    /// W `[m, n]`.
    package var weight: Tensor
    /// ρ `[m, n]`.
    package var rest: Tensor
    /// U `[m, k]` and V `[k, n]`, which few ranks read in a step.
    package var packedU: PackedTernary, packedV: PackedTernary
    /// `[k]`.
    package var s: Tensor
    /// Scales of rows and columns, chosen at the first decomposition and adjusted to the weight.
    package var balance: Balance?

    /// U as floats, unpacked at each call.
    package var u: Tensor { packedU.unpacked }
    /// V as floats, unpacked at each call.
    package var v: Tensor { packedV.unpacked }

    /// From U and V as floats.
    package init(weight: Tensor, rest: Tensor, u: Tensor, s: Tensor, v: Tensor, balance: Balance? = nil) {
        (self.weight, self.rest, self.s, self.balance) = (weight, rest, s, balance)
        (packedU, packedV) = (PackedTernary(u), PackedTernary(v))
    }

    /// The state of a layer without components: W unchanged, and ρ = 0.
    package static func empty(_ weight: Tensor, _ balance: Balance? = nil) -> TernaryLayerState {
        TernaryLayerState(
            weight: weight, rest: Tensor(zeros: weight.shape), u: Tensor(zeros: [weight.rows, 0]), s: Tensor(zeros: [0]),
            v: Tensor(zeros: [0, weight.columns]), balance: balance)
    }
}

/// The non-zeros a layer may have in training, and what keeps them there.
package struct Adaptation: Sendable {
    /// Non-zeros of U and V at most.
    package let budget: Int
    /// The squared error that a non-zero must remove, as a multiple of an entry's squared residual.
    package internal(set) var price: Float

    package init(budget: Int, price: Float = 3) { (self.budget, self.price) = (budget, price) }
}

/// The kind of a transition.
package enum TransitionBranch: String, Sendable {
    /// U and V kept, s solved for again.
    case refresh
    /// Weak components dropped, the others a warm start.
    case prune
    /// A new decomposition.
    case full
}

/// The outcome of a transition as its owner publishes it: everything that another rank needs besides A = W + ρ, which it
/// already has.
package struct TransitionUpdate: Sendable {
    package let branch: TransitionBranch
    /// Old components that remain, ascending; new ones follow them. All of them for a refresh, none for a full update.
    package let kept: [Int]
    /// New columns `[m, k']` and rows `[k', n]`.
    package let newU: Tensor, newV: Tensor
    /// All scales, kept components first.
    package let s: Tensor
    /// A balanced layer's scales, where they are new: with its first decomposition, and whenever its weight has moved away from
    /// the old ones.
    package let balance: Balance?
    /// Whether this refresh replaces an adaptation that would have emptied the layer.
    package let isRefusal: Bool

    package init(
        branch: TransitionBranch, kept: [Int], newU: Tensor, newV: Tensor, s: Tensor, balance: Balance? = nil,
        isRefusal: Bool = false
    ) {
        precondition(
            newU.columns == newV.rows && kept.count + newV.rows == s.count, "\(kept.count) + \(newV.rows) for \(s.count) scales"
        )
        self.branch = branch
        (self.kept, self.newU, self.newV, self.s, self.balance) = (kept, newU, newV, s, balance)
        self.isRefusal = isRefusal
    }
}

/// The projection of a ternary layer's weight after an optimizer step (quantization-aware training).
package struct LayerTransition: Sendable {
    package let options: TernaryOptions
    /// A present component is kept while its strength is at least this times the best absent one's.
    let pruneRate: Float

    package static let publishedPruneRate = 5

    /// - Parameter pruneRate: nil for the published rate in the reference mode, and 0 in the default mode. With the published
    ///   rate nearly every component of a fresh decomposition counts as weak, and each step decomposes again. Where U and V are
    ///   adapted to the weights (`ternary.adapt_every`), none needs to be dropped.
    /// - Throws: `TernaryError` (configuration).
    package init(_ options: TernaryOptions, pruneRate: Float? = nil) throws(TernaryError) {
        try options.validate()
        let pruneRate = pruneRate ?? (options.mode == .reference ? Float(Self.publishedPruneRate) : 0)
        guard pruneRate >= 0 else {
            throw TernaryError(.configuration, "ternary.prune_rate is \(pruneRate); it must be 0 or more")
        }
        (self.options, self.pruneRate) = (options, pruneRate)
    }

    /// A rank keeps factors of scales' equations from step to step with at most this many values for each weight of its layers:
    /// as many as weights and residuals have together.
    package static let mostFactors = 2

    // MARK: - Owner

    /// The first projection: factors that were made from the weight, or are given.
    package static func begin(with factors: TernaryFactors) -> TransitionUpdate {
        TransitionUpdate(
            branch: .full, kept: [], newU: factors.u.unpacked, newV: factors.v.unpacked,
            s: Tensor(factors.s, [factors.componentCount]),
            balance: factors.balance)
    }

    /// Decides the branch for the state, whose weight the optimizer has just changed, and computes the new factors.
    ///
    /// Where `adapts` is true, or `follows` is and a channel has left its scale, so that its entries of U or V no longer fit,
    /// the entries of U and V are adapted to the weight, by coordinate descent (default mode): ``TransitionBranch/prune`` with
    /// nothing dropped. An adaptation that would leave less than half of the layer's non-zeros is refused. They would never
    /// come back, and so sudden a loss points to a bad step (too high a learning rate), not to the layer. Instead, the scales
    /// are solved for with U and V unchanged.
    ///
    /// - Parameters:
    ///   - factor: of the scales' equations, which depend on U and V alone: nil, or as the last transition of this layer has
    ///     left it; nil afterwards where U and V change.
    ///   - order: arranges the kept components; then those beyond a multiple of the stride are dropped.
    ///   - eachRound: called between the parts of the work. An error that it throws ends the transition.
    package func step(
        _ state: TernaryLayerState, name: String = "the matrix", adapts: Bool, follows: Bool, _ adaptation: inout Adaptation,
        keeping factor: inout CholeskyFactor?, order: ([Int]) -> [Int] = { $0 }, eachRound: () throws -> Void = {}
    ) throws -> TransitionUpdate {
        let (a, balance) = try target(of: state, name: name)
        try eachRound()
        let update =
            adapts || follows && balance != nil
            ? try adapt(to: a, balance, state, name: name, &adaptation, &factor, eachRound)
            : try update(to: a, balance, state, name: name, &factor, order, eachRound)
        if update.branch != .refresh { factor = nil }
        return update
    }

    private func adapt(
        to a: Tensor, _ balance: Balance?, _ state: TernaryLayerState, name: String, _ adaptation: inout Adaptation,
        _ factor: inout CholeskyFactor?, _ eachRound: () throws -> Void
    ) throws -> TransitionUpdate {
        let adapted = try TernaryError.naming(name) {
            try TernaryDecomposition.adapting(
                (state.u, state.v), to: a, options.scaledAlready, &adaptation, eachRound: eachRound)
        }
        let present = state.packedU.nonzeros + state.packedV.nonzeros
        // Compared with the first number, too, since many small losses empty a layer like one large loss.
        guard 2 * adapted.nonzeros >= present, 2 * adapted.nonzeros >= min(2 * present, adaptation.budget) else {
            return try refresh(a, state, balance, name: name, &factor, isRefusal: true, eachRound).update
        }
        return difference(adapted, from: state, balance)
    }

    /// A = W + ρ, balanced where the layer is; also the new balance where A has moved away from the old one.
    private func target(of state: TernaryLayerState, name: String) throws(TernaryError) -> (a: Tensor, balance: Balance?) {
        let sum = state.weight + state.rest
        guard sum.isFinite else {
            throw TernaryError(
                .data, "\(name) has a weight that is not finite after the optimizer's step; lower training.learning_rate")
        }
        guard let old = state.balance else { return (sum, nil) }
        let balanced = old.applied(to: sum)
        guard let new = old.following(balanced) else { return (balanced, nil) }
        return (new.applied(to: sum), new)
    }

    /// U and V kept, s by least squares on A.
    private func refresh(
        _ a: Tensor, _ state: TernaryLayerState, _ balance: Balance?, name: String, _ factor: inout CholeskyFactor?,
        isRefusal: Bool = false, _ eachPart: () throws -> Void
    ) throws -> (update: TransitionUpdate, refitted: Components) {
        let refitted = try TernaryError.naming(name) { try refit(a, state, &factor, eachPart) }
        let k = refitted.count
        let update = TransitionUpdate(
            branch: .refresh, kept: Array(0..<k), newU: Tensor(zeros: [a.rows, 0]), newV: Tensor(zeros: [0, a.columns]),
            s: Tensor(refitted.s, [k]), balance: balance, isRefusal: isRefusal)
        return (update, refitted)
    }

    /// An update without an adaptation: U and V change only where components are dropped.
    private func update(
        to a: Tensor, _ balance: Balance?, _ state: TernaryLayerState, name: String, _ factor: inout CholeskyFactor?,
        _ order: ([Int]) -> [Int], _ eachRound: () throws -> Void
    ) throws -> TransitionUpdate {
        // The layer keeps its balance, so the scaled weight is decomposed without balancing.
        let options = options.scaledAlready
        let k = state.s.count
        guard pruneRate.isFinite, k > 0 else { return try full(a, options, balance, name: name, eachRound) }

        let (refresh, refitted) = try refresh(a, state, balance, name: name, &factor, eachRound)
        // With a rate of 0 no component counts as weak.
        guard pruneRate > 0 else { return refresh }
        let s = refitted.s
        let (u, v) = (state.u, state.v)
        let strengths = (0..<k).map { j in abs(s[j]) * Float(u.columnCount(j) * v.rowCount(j)).squareRoot() }
        let bar = try TernaryError.naming(name) {
            let residual = options.mode == .reference ? refitted.exactResidual(of: a) : refitted.residual(of: a, Workspace())
            return try pruneRate * strengthOfBestAbsent(residual)
        }
        let strong = (0..<k).filter { strengths[$0] >= bar }
        if strong.count == k { return refresh }
        let r = options.stride(rows: a.rows, columns: a.columns)
        let kept = Array(order(strong).prefix(strong.count / r * r))
        guard !kept.isEmpty else { return try full(a, options, balance, name: name, eachRound) }
        let start = Components(u: u, s: state.s, v: v).selecting(kept)
        let warm = try TernaryDecomposition(
            a, options, name: name, start: (start.u, Tensor(start.v, [kept.count, a.columns])), eachRound: eachRound)
        return difference(warm, from: state, balance)
    }

    private func full(
        _ a: Tensor, _ options: TernaryOptions, _ balance: Balance?, name: String, _ eachRound: () throws -> Void
    ) throws -> TransitionUpdate {
        let result = try TernaryDecomposition(a, options, name: name, eachRound: eachRound)
        return TransitionUpdate(
            branch: .full, kept: [], newU: result.u, newV: result.v, s: result.s, balance: balance ?? result.balance)
    }

    /// The state's components with s by least squares on A.
    private func refit(
        _ a: Tensor, _ state: TernaryLayerState, _ factor: inout CholeskyFactor?, _ eachPart: () throws -> Void
    ) throws -> Components {
        var components = Components(u: state.u, s: state.s, v: state.v)
        let isExact = options.mode == .reference
        var solver = ScaleSolver(a, exact: isExact)
        if isExact {
            solver.update(components, from: 0)
            components.s = try solver.exactSolution(sharedSquares: solver.kernelSquares())
        } else {
            components.s = try solver.solution(of: components, keeping: &factor, eachPart)
        }
        return components
    }

    /// |s'|·√(|u'|₀·|v'|₀) of the ternary projection of the residual's leading pair; s' is its best scale.
    private func strengthOfBestAbsent(_ residual: Tensor) throws -> Float {
        let (m, n) = (residual.rows, residual.columns)
        var projection = TernaryProjection(threshold: options.threshold)
        var leading: Tensor
        switch options.mode {
        case .reference:
            leading = try SingularValueDecomposition(inDoublePrecision: residual).u.transposed().rows(0..<1)
        case .default:
            var random = RandomStream(seed: options.seed, stream: 0x5172_6164)
            var subspace = try LeadingSubspace(rows: m, dimension: min(8, m), from: &random)
            try subspace.iterate(residual, times: 4)
            leading = subspace.basis.transposed().rows(0..<1)
        }
        leading = leading.reshaped([1, m])
        let pair = Deflation(residual).projectedPair(leading, &projection)
        guard pair.nonzeros > 0 else { return 0 }
        var overlap = 0.0
        residual.withElements { r in
            for i in 0..<m where pair.u[i] != 0 {
                for j in 0..<n { overlap += Double(pair.u[i] * pair.v[j] * r[i * n + j]) }
            }
        }
        let entries = Double(pair.u.count { $0 != 0 } * pair.v.count { $0 != 0 })
        return entries > 0 ? Float(abs(overlap) / entries.squareRoot()) : 0
    }

    /// The new factors as changes to the old ones: components found in both are named, the others are sent.
    private func difference(
        _ result: TernaryDecomposition, from state: TernaryLayerState, _ balance: Balance?
    ) -> TransitionUpdate {
        guard options.sparsity == .none else {
            // Components keep their places, so that they keep their neighbors.
            return TransitionUpdate(branch: .prune, kept: [], newU: result.u, newV: result.v, s: result.s, balance: balance)
        }
        let old = Components(u: state.u, s: state.s, v: state.v)
        let new = Components(u: result.u, s: result.s, v: result.v)
        var places: [[UInt64]: [Int]] = [:]
        for (j, signs) in old.signs.enumerated() { places[signs, default: []].append(j) }
        var keptFrom: [(old: Int, new: Int)] = []
        var fresh: [Int] = []
        for (j, signs) in new.signs.enumerated() {
            if let place = places[signs]?.popLast() { keptFrom.append((place, j)) } else { fresh.append(j) }
        }
        keptFrom.sort { $0.old < $1.old }
        let arranged = new.selecting(keptFrom.map(\.new) + fresh)
        let added = new.selecting(fresh)
        return TransitionUpdate(
            branch: .prune, kept: keptFrom.map(\.old), newU: added.u, newV: Tensor(added.v, [fresh.count, new.n]),
            s: Tensor(arranged.s, [arranged.count]), balance: balance)
    }

    // MARK: - Everybody

    /// Changes a state as a transition says. Owner and receivers call this with the same update and the same state before, and
    /// end with the same bits: the product is a sum in fixed order.
    ///
    /// A refresh as published leaves W and ρ unchanged: their sum already is A, and W is U·diag(s)·V except for the step just
    /// taken. In the default mode W ← U·diag(s)·V and ρ ← A − W then too, so that the network in training is the one that is
    /// kept in the end.
    ///
    /// - Parameter sum: the state's U and V for products, made again where they change.
    /// - Precondition: `update.kept` are components of the state.
    package func apply(_ update: TransitionUpdate, to state: inout TernaryLayerState, _ sum: inout TernarySum) {
        if update.branch != .refresh {
            let runs = update.kept.runs
            let u = state.u.keepingColumns(runs, then: update.newU)
            let v = state.v.keepingRows(runs, then: update.newV)
            sum = TernarySum(u: u, v: v)
            (state.packedU, state.packedV) = (PackedTernary(u), PackedTernary(v))
        }
        state.s = update.s
        if let balance = update.balance { state.balance = balance }
        guard update.branch != .refresh || options.mode == .default else { return }
        sum.carryResidual(state.s, state.balance, weight: &state.weight, rest: &state.rest)
    }
}

extension [Int] {
    /// Ascending numbers as the ranges they fill.
    fileprivate var runs: [Range<Int>] {
        var result: [Range<Int>] = []
        for value in self {
            if result.last?.upperBound == value {
                result[result.count - 1] = result[result.count - 1].lowerBound..<value + 1
            } else {
                result.append(value..<value + 1)
            }
        }
        return result
    }
}

extension Tensor {
    /// The kept columns, followed by new ones.
    fileprivate func keepingColumns(_ runs: [Range<Int>], then new: Tensor) -> Tensor {
        var result = Tensor(uninitialized: [shape[0], runs.reduce(new.columns) { $0 + $1.count }])
        keep(runs, ofEach: shape[0], then: new, into: result.mutablePointer)
        return result
    }

    /// The kept rows, followed by new ones.
    fileprivate func keepingRows(_ runs: [Range<Int>], then new: Tensor) -> Tensor {
        var result = Tensor(uninitialized: [runs.reduce(new.shape[0]) { $0 + $1.count }, columns])
        let runs = runs.map { $0.lowerBound * columns..<$0.upperBound * columns }
        keep(runs, ofEach: 1, then: new, into: result.mutablePointer)
        return result
    }

    /// For each of the equal parts, the elements of `runs`, then the part of `new`. Most transitions keep nearly all
    /// components, so that runs are long.
    private func keep(
        _ runs: [Range<Int>], ofEach parts: Int, then new: Tensor, into result: UnsafeMutablePointer<Float>
    ) {
        var target = result
        for part in 0..<parts {
            for run in runs {
                target.update(from: pointer + part * (count / parts) + run.lowerBound, count: run.count)
                target += run.count
            }
            target.update(from: new.pointer + part * (new.count / parts), count: new.count / parts)
            target += new.count / parts
        }
    }

    /// Non-zeros of column j.
    fileprivate func columnCount(_ j: Int) -> Int { withElements { e in (0..<rows).count { e[$0 * columns + j] != 0 } } }
    /// Non-zeros of row j.
    fileprivate func rowCount(_ j: Int) -> Int { withElements { e in (0..<columns).count { e[j * columns + $0] != 0 } } }
}
