package import Collectives
internal import LinearAlgebra
internal import Runs
internal import Support
internal import TensorCore
package import TernarySVD
internal import TransitionBus

/// How often transitions took each branch.
package struct BranchCounts {
    package var refresh = 0, prune = 0, full = 0
    /// Adaptations that would have emptied the layer; each is also counted in ``refresh``.
    package var refused = 0

    /// Counts a transition.
    package mutating func add(_ update: TransitionUpdate) {
        if update.isRefusal { refused += 1 }
        switch update.branch {
        case .refresh: refresh += 1
        case .prune: prune += 1
        case .full: full += 1
        }
    }

    /// The sum over all ranks of a communicator. Collective.
    package func sum(over world: some Communicator) throws(MPIError) -> BranchCounts {
        var counts = [Int64(refresh), Int64(prune), Int64(full), Int64(refused)]
        try world.allReduce(&counts, .sum)
        return BranchCounts(refresh: Int(counts[0]), prune: Int(counts[1]), full: Int(counts[2]), refused: Int(counts[3]))
    }
}

/// A ternary layer in training, as every rank holds it.
struct TernaryTrainingLayer {
    /// Checkpoint name without `.weight`.
    let name: String
    /// Index of its weight among the model's.
    let index: Int
    let codec: TransitionCodec
    /// The layer's state, without components until the first transition. Between steps its weight is in the model.
    private(set) var state: TernaryLayerState
    /// Tolerance of the decomposition that the first factors came from.
    var tolerance: Float
    /// Whether s, a and b end in 16 bits, as in the factors that training started from.
    var hasShortScales = false
    /// Whether the first factors are given. Their difference from the weight is then not kept as the residual ρ: factors chosen
    /// on data are farther from the weight than the nearest ones, and the next projection would undo that choice.
    var isGiven = false
    /// Sent with every transition, since the next one may be another rank's.
    private(set) var adaptation = Adaptation(budget: 0)
    /// Counts of transitions, without the first decomposition.
    private(set) var branches = BranchCounts()
    /// Digest of U, s, V, a, b, W and ρ.
    private(set) var digest: Digest = []
    /// U and V in the form that the product reads, and their digest; made again only when U and V change, which few transitions
    /// do.
    private var sum: TernarySum
    private var factorDigest: Digest = []
    private var balanceDigest: Digest = []
    /// The factor of the equations for s, which U and V determine, on the rank that has computed the last transition; nil on
    /// others.
    var scaleFactor: CholeskyFactor?

    init(name: String, index: Int, rows: Int, columns: Int, tolerance: Float) {
        (self.name, self.index, self.tolerance) = (name, index, tolerance)
        codec = TransitionCodec(rows: rows, columns: columns)
        state = .empty(Tensor(zeros: [rows, columns]))
        sum = TernarySum(u: state.u, v: state.v)
    }

    var componentCount: Int { state.s.count }

    /// Takes the weight from the model, or gives it back, so that it is changed in place and exists only once.
    mutating func exchangeWeight(_ weight: inout Tensor) { swap(&state.weight, &weight) }

    private mutating func factorsChanged() {
        scaleFactor = nil
        factorDigest = stateDigest([state.u, state.v])
    }

    private mutating func balanceChanged() {
        balanceDigest = state.balance.map { stateDigest([Tensor($0.a, [$0.a.count]), Tensor($0.b, [$0.b.count])]) } ?? []
    }

    /// Takes what the layer's owner has published.
    ///
    /// - Parameter isFirst: whether these are the first factors.
    mutating func apply(_ message: TransitionMessage, _ transition: LayerTransition, isFirst: Bool) {
        let update = message.update
        adaptation = message.adaptation
        if !isFirst { branches.add(update) }
        transition.apply(update, to: &state, &sum)
        if update.branch != .refresh { factorsChanged() }
        if isFirst && isGiven {
            state.rest = Tensor(zeros: state.rest.shape)
            state.balance = state.balance?.standing(at: state.weight)
        }
        if update.balance != nil { balanceChanged() }
        digest = factorDigest + balanceDigest + stateDigest([state.s, state.weight, state.rest])
    }
}

// MARK: - Checkpoints

extension TernaryTrainingLayer {
    func save(into saved: inout TrainingState) {
        (saved.ternary["\(name).u"], saved.ternary["\(name).v"]) = (state.packedU, state.packedV)
        (saved.tensors["\(name).s"], saved.tensors["\(name).rest"]) = (state.s, state.rest)
        if let balance = state.balance {
            saved.tensors["\(name).a"] = Tensor(balance.a, [balance.a.count])
            saved.tensors["\(name).b"] = Tensor(balance.b, [balance.b.count])
            if let origin = balance.origin {
                saved.tensors["\(name).row_origin"] = Tensor(origin.rows, [origin.rows.count])
                saved.tensors["\(name).column_origin"] = Tensor(origin.columns, [origin.columns.count])
            }
        }
        saved.numbers["\(name).tolerance"] = Double(tolerance)
        if hasShortScales { saved.numbers["\(name).short_scales"] = 1 }
        saved.numbers["\(name).budget"] = Double(adaptation.budget)
        saved.numbers["\(name).price"] = Double(adaptation.price)
        saved.numbers["\(name).refresh"] = Double(branches.refresh)
        saved.numbers["\(name).prune"] = Double(branches.prune)
        saved.numbers["\(name).full"] = Double(branches.full)
        saved.numbers["\(name).refused"] = Double(branches.refused)
    }

    mutating func restore(_ saved: TrainingState) throws(CheckpointError) {
        let (u, v) = (try saved.ternary("\(name).u"), try saved.ternary("\(name).v"))
        state.rest = try saved.tensor("\(name).rest", [u.rows, v.columns])
        (state.packedU, state.s, state.packedV) = (u, try saved.tensor("\(name).s", [u.columns]), v)
        if let a = try saved.optionalTensor("\(name).a") {
            guard a.shape == [u.rows] else { throw .lacks("\(name).a of shape \([u.rows])") }
            var origin: Balance.Origin?
            if let rows = try saved.optionalTensor("\(name).row_origin") {
                guard rows.shape == [u.rows] else { throw .lacks("\(name).row_origin of shape \([u.rows])") }
                origin = Balance.Origin(
                    rows: rows.elements, columns: try saved.tensor("\(name).column_origin", [v.columns]).elements)
            }
            state.balance = Balance(
                a: a.elements, b: try saved.tensor("\(name).b", [v.columns]).elements, origin: origin)
        }
        if let tolerance = try saved.optionalNumber("\(name).tolerance") { self.tolerance = Float(tolerance) }
        hasShortScales = try saved.optionalNumber("\(name).short_scales") == 1
        adaptation = Adaptation(
            budget: try saved.count("\(name).budget"), price: Float(try saved.number("\(name).price")))
        branches = BranchCounts(
            refresh: try saved.count("\(name).refresh"), prune: try saved.count("\(name).prune"),
            full: try saved.count("\(name).full"), refused: try saved.optionalCount("\(name).refused"))
        sum = TernarySum(u: state.u, v: state.v)
        factorsChanged()
        balanceChanged()
    }
}
