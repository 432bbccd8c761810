internal import Collectives
internal import TensorCore
internal import TernarySVD
internal import TransitionBus

/// How often transitions took each branch.
struct BranchCounts {
    var refresh = 0, prune = 0, full = 0

    mutating func add(_ branch: TransitionBranch) {
        switch branch {
        case .refresh: refresh += 1
        case .prune: prune += 1
        case .full: full += 1
        }
    }

    /// Of all ranks of a communicator. Collective.
    func sum(over world: some Communicator) throws(MPIError) -> BranchCounts {
        var counts = [Int64(refresh), Int64(prune), Int64(full)]
        try world.allReduce(&counts, .sum)
        return BranchCounts(refresh: Int(counts[0]), prune: Int(counts[1]), full: Int(counts[2]))
    }
}

/// A ternary layer in training, as every rank holds it.
struct TernaryTrainingLayer {
    /// Checkpoint name without `.weight`.
    let name: String
    /// Of its weight among the model's.
    let index: Int
    let codec: TransitionCodec
    /// The rank that computes its transitions.
    let owner: Int
    /// Without components until the first transition. Between steps its weight is in the model.
    private(set) var state: TernaryLayerState
    /// Used by the owner.
    var adaptation = Adaptation(budget: 0)
    /// Of transitions, the first decomposition not among them.
    private(set) var branches = BranchCounts()
    /// Of U, s, V, W and ρ.
    private(set) var digest: Digest = []
    /// U and V as the product reads them, and their digest: made when they change, which few transitions do.
    private var sum: TernarySum
    private var factorDigest: Digest = []

    init(name: String, index: Int, owner: Int, rows: Int, columns: Int) {
        (self.name, self.index, self.owner) = (name, index, owner)
        codec = TransitionCodec(rows: rows, columns: columns)
        state = .empty(Tensor(zeros: [rows, columns]))
        sum = TernarySum(u: state.u, v: state.v)
    }

    var rank: Int { state.s.count }

    /// Takes the weight out of the model's hands, and gives it back, so that it is changed in place and held once.
    mutating func exchangeWeight(_ weight: inout Tensor) { swap(&state.weight, &weight) }

    private mutating func factorsChanged() {
        sum = TernarySum(u: state.u, v: state.v)
        factorDigest = Digests.state([state.u, state.v])
    }

    /// - Parameters:
    ///   - projectsRefresh: whether W ← U·diag(s)·V and ρ ← A − W also where only s is new. A refresh as published leaves both alone,
    ///     so that the network in training is not quite the one that is kept.
    ///   - isFirst: whether this is the first decomposition.
    mutating func apply(_ update: TransitionUpdate, projectsRefresh: Bool, isFirst: Bool) {
        if isFirst { state.balance = update.balance } else { branches.add(update.branch) }
        LayerTransition.takeFactors(of: update, into: &state)
        if update.branch != .refresh { factorsChanged() }
        if update.branch != .refresh || projectsRefresh {
            sum.settle(state.s, state.balance, weight: &state.weight, rest: &state.rest)
        }
        digest = factorDigest + Digests.state([state.s, state.weight, state.rest])
    }
}

// MARK: - Checkpoints

extension TernaryTrainingLayer {
    /// The adaptation is the owner's; on other ranks it stands at its beginning, and is never used.
    func save(into saved: inout TrainingState) {
        (saved.ternary["\(name).u"], saved.ternary["\(name).v"]) = (PackedTernary(state.u), PackedTernary(state.v))
        (saved.tensors["\(name).s"], saved.tensors["\(name).rest"]) = (state.s, state.rest)
        if let balance = state.balance {
            saved.tensors["\(name).a"] = Tensor(balance.a, [balance.a.count])
            saved.tensors["\(name).b"] = Tensor(balance.b, [balance.b.count])
        }
        saved.numbers["\(name).budget"] = Double(adaptation.budget)
        saved.numbers["\(name).price"] = Double(adaptation.price)
        saved.numbers["\(name).refresh"] = Double(branches.refresh)
        saved.numbers["\(name).prune"] = Double(branches.prune)
        saved.numbers["\(name).full"] = Double(branches.full)
    }

    mutating func restore(_ saved: TrainingState) throws(CheckpointError) {
        let (u, v) = (try saved.ternary("\(name).u"), try saved.ternary("\(name).v"))
        state.rest = try saved.tensor("\(name).rest", [u.rows, v.columns])
        (state.u, state.s, state.v) = (u.unpacked, try saved.tensor("\(name).s", [u.columns]), v.unpacked)
        if saved.tensors["\(name).a"] != nil {
            state.balance = Balance(
                a: try saved.tensor("\(name).a", [u.rows]).elements, b: try saved.tensor("\(name).b", [v.columns]).elements)
        }
        adaptation = Adaptation(budget: Int(try saved.number("\(name).budget")), price: Float(try saved.number("\(name).price")))
        branches = BranchCounts(
            refresh: Int(try saved.number("\(name).refresh")), prune: Int(try saved.number("\(name).prune")),
            full: Int(try saved.number("\(name).full")))
        factorsChanged()
    }
}
