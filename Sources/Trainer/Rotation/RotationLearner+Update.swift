package import Collectives
internal import Models
internal import Rotation
internal import TensorCore

/// The Cayley steps of all rotations, from gradients that all ranks have.
extension RotationLearner {
    /// The rotations that are learned: R1, then the layers' R2.
    private var learned: [Tensor] {
        get { (settings.learnsR1 ? [rotations.r1].compactMap(\.self) : []) + (settings.learnsR2 ? rotations.r2 ?? [] : []) }
        set {
            var rest = newValue[...]
            if settings.learnsR1, rotations.r1 != nil { rotations.r1 = rest.removeFirst() }
            if settings.learnsR2, rotations.r2 != nil { rotations.r2 = Array(rest) }
        }
    }

    /// Takes the Cayley step of every rotation. Returns √(Σ ‖S‖²). Collective where ranks divide the work.
    func update(learningRate: Float, _ world: some Communicator) throws -> Double {
        var rotations = learned
        var (offset, squared) = (0, 0.0)
        var begun: [CayleyStep] = []
        for index in rotations.indices {
            let order = rotations[index].rows
            let count = SkewMatrix.packedCount(order: order)
            var skew = packed.slice(offset..<offset + count)
            let isR1 = index == 0 && settings.learnsR1 && self.rotations.r1 != nil
            if isR1, model.architecture.takesMeans { skew = SkewMatrix.keepingMean(skew, order: order) }
            offset += count
            squared += 2 * skew.squaredNorm
            if settings.retraction == .exact {
                begun.append(try optimizers[index].begin(rotations[index], skew: skew, learningRate: learningRate))
            } else {
                try optimizers[index].step(&rotations[index], skew: skew, learningRate: learningRate)
            }
        }
        let next = try settings.dividesUpdate ? divided(begun, world) : begun.map { try $0.rows(0..<$0.start.rows) }
        for (index, next) in next.enumerated() { optimizers[index].finish(&rotations[index], begun[index], next: next) }
        learned = rotations
        return squared.squareRoot()
    }

    /// The next rotations, of which each rank computes some rows. Collective.
    private func divided(_ begun: [CayleyStep], _ world: some Communicator) throws -> [Tensor] {
        let shares = RotationRows(orders: begun.map(\.start.rows), ranks: world.size)
        let columns = begun.map(\.start.columns)
        let counts = (0..<world.size).map(shares.count(of:))
        // Pieces are in the order of the rotations and their rows, rank by rank.
        var all = Tensor(uninitialized: [counts.reduce(0, +)])
        var target = all.mutablePointer + counts[..<world.rank].reduce(0, +)
        try world.agree {
            for piece in shares.pieces(of: world.rank) {
                let rows = try begun[piece.rotation].rows(piece.rows)
                target.update(from: rows.pointer, count: rows.count)
                target += piece.rows.count * columns[piece.rotation]
            }
        }
        try world.allGather(&all, counts: counts)
        var first = 0
        return begun.map { step in
            defer { first += step.start.count }
            return all.slice(first..<first + step.start.count).reshaped(step.start.shape)
        }
    }

    /// max|RᵀR − I| over the rotations. Where ranks divide the work, each compares some rows. Collective.
    package func orthogonalityError(over world: some Communicator) throws(MPIError) -> Double {
        guard settings.dividesUpdate else { return orthogonalityError }
        let rotations = rotations.named.map(\.tensor)
        let own = RotationRows(orders: rotations.map(\.rows), ranks: world.size).pieces(of: world.rank)
        return try world.allReduce(
            own.map { Double(Rotation.orthogonalityError(rotations[$0.rotation], rows: $0.rows)) }.max() ?? 0, .max)
    }
}
