internal import CKernels
internal import Glibc
internal import LinearAlgebra
internal import TensorCore

/// The default mode: components found pair by pair from a warm-started leading subspace and, with refinement, reconsidered
/// after every round by coordinate descent on ‖W − U·diag(s)·V‖² + price·(non-zeros of U and V).
///
/// A round costs O(k·m·n) additions, O(k²·(m + n)/64) bit counts and, for the scales, O(k³/3) with refinement (all columns may
/// change) or O(k²·r) without (the factor is extended). With refinement a round adds a fixed share of k, so that all rounds
/// together cost a constant number of last rounds.
struct GreedyDecomposer {
    /// Share of the components that a round with refinement adds (at least a quarter of the stride), for few, usual and many
    /// components. A round costs the cube of the number of components, so that thousands are added in large steps. Fewer
    /// components gain more from further refinement.
    static let (earlyGrowth, growth, lateGrowth) = (1.0 / 32, 1.0 / 16, 1.0 / 10)
    /// Alternations v ← tern(Rᵀu), u ← tern(Rv) per new pair.
    static let alternations = 3
    /// Below this number of components a round descends twice. It costs little there, and with few components there are few
    /// later rounds.
    static let fewComponents = 512
    /// From this number of components on rounds grow in large steps.
    static let manyComponents = 2048
    /// α of ``weightedResidual()`` for few components, in rounds and at the end, and the corresponding factor of the price,
    /// without which there would be fewer components but more non-zeros.
    static let (leadingWeight, finalLeadingWeight, leadingPrice): (Float, Float, Float) = (0.3, 0.4, 1.1)
    /// Rounds give all directions the same weight until the error is down to this many tolerances. Large matrices have more
    /// than few components by then, and lose no time.
    static let leadingReach: Float = 8

    private let options: TernaryOptions
    private let matrix: Tensor
    /// Whether the left vectors are the rows of V.
    private let isTransposed: Bool
    private let norm: Float
    private let stride: Int
    private let workspace = Workspace()
    private var components: Components
    private var solver: ScaleSolver
    private var residual: Tensor
    private var subspace: LeadingSubspace
    private var projection: TernaryProjection
    /// Squared error removed per non-zero by the latest new components.
    private var pricePerNonzero: Float = 0
    /// α of ``weightedResidual()``.
    private var leadingWeight: Float = 0
    /// Whether U has changed since the scales were last solved for.
    private var scalesAreStale = false
    /// Which components left without entries stay, so that others keep their neighbors.
    private var kept = Places.none
    /// Whether the latest round ended with no more components than before, because under 2:4 the neighbors of its new
    /// components left no room for their entries.
    private var lacksRoom = false
    /// Factor of the price, halved with every consecutive round that ``lacksRoom``. Pairs are priced before they are thinned
    /// out, and under 2:4 the remaining entries may save less than that price.
    private var discount: Float = 1

    private enum Places {
        case none
        /// Keep empty components except where removing them moves no other component out of its group of four.
        case amongOthers
        case all
    }

    /// Decomposes each matrix, and pads all to the largest number of components with components of scale 0.
    static func decompose(
        _ problems: [Problem], _ options: TernaryOptions, name: String, _ eachRound: () throws -> Void
    ) throws -> [(components: Components, error: Float)] {
        var results: [(components: Components, error: Float)] = []
        for problem in problems {
            var decomposer = try GreedyDecomposer(problem, options)
            let error = try decomposer.run(name: name, eachRound)
            results.append((decomposer.components, error))
        }
        let componentCount = results.map { $0.components.count }.max() ?? 0
        for b in results.indices { results[b].components.pad(to: componentCount) }
        return results
    }

    /// - Parameter needsNorm: false where the error is not needed.
    private init(_ problem: Problem, _ options: TernaryOptions, needsNorm: Bool = true) throws {
        self.options = options
        (matrix, isTransposed) = (problem.matrix, problem.isTransposed)
        norm = needsNorm ? try matrix.spectralNorm() : .nan
        stride = min(options.stride(rows: matrix.rows, columns: matrix.columns), matrix.rows)
        components = problem.start ?? Components(m: matrix.rows, n: matrix.columns)
        solver = ScaleSolver(matrix, workspace)
        residual = matrix
        var random = RandomStream(seed: options.seed, stream: 0x7453_5644)
        subspace = try LeadingSubspace(rows: matrix.rows, dimension: min(2 * stride, matrix.rows), from: &random)
        projection = TernaryProjection(threshold: options.threshold)
        if components.count > 0 { try refit(from: 0) }
    }

    /// Adds components until the residual is within the tolerance; returns its relative operator norm.
    private mutating func run(name: String, _ eachRound: () throws -> Void) throws -> Float {
        if options.sparsity != .none, components.count > 0 {
            // Later rounds make up for what this removes.
            pricePerNonzero = components.squaresPerNonzero(ofLast: stride)
            try keepSparsity()
        }
        guard norm > 0 else { return 0 }
        var stallGuard = StallGuard(tolerance: options.tolerance, name: name)
        var decay = ErrorDecay(tolerance: options.tolerance)
        var error: Float
        while true {
            try eachRound()
            try subspace.iterate(residual, times: 2)
            error = subspace.values[0] / norm
            if error < options.tolerance {
                // Ritz values are lower bounds, so the tolerance is checked with the full set of singular values.
                error = try residual.spectralNorm() / norm
                if error < options.tolerance { break }
            }
            let first = components.count
            try stallGuard.check(error, residual, components: first)
            decay.note(error, components: first)
            let wanted =
                options.refines ? Self.roundSize(after: first, stride: stride, expected: forecast(decay, first)) : stride
            if lacksRoom { components.pad(to: Self.nextNeighbors(after: first)) }
            try addPairs(wanted)
            try refit(from: first)
            guard options.refines else { continue }
            let few = components.count < Self.fewComponents
            leadingWeight = few && options.economizes && error < Self.leadingReach * options.tolerance ? Self.leadingWeight : 0
            for _ in 0..<Self.descents(components.count) { try descend(price: price) }
            lacksRoom = options.sparsity != .none && components.count <= first
            // Without the empty places the next components would have the same neighbors again.
            if lacksRoom { kept = .amongOthers }
            discount = lacksRoom ? discount / 2 : 1
        }
        return options.refines ? try trim(from: error) : error
    }

    /// The number of components that a round adds: a share of the present ones, but no more than are expected to be missing for
    /// the tolerance.
    static func roundSize(after count: Int, stride: Int, expected: Int?) -> Int {
        let share = count < fewComponents ? earlyGrowth : count < manyComponents ? growth : lateGrowth
        return max((stride + 3) / 4, min(Int(Double(count) * share), expected ?? .max))
    }

    /// Expected number of components that are still missing for the tolerance, where a round uses it.
    private func forecast(_ decay: ErrorDecay, _ count: Int) -> Int? {
        Self.usesForecast(options, count) ? decay.missing : nil
    }

    /// Whether a round after this many components is limited to the number expected to be missing for the tolerance.
    static func usesForecast(_ options: TernaryOptions, _ count: Int) -> Bool {
        options.economizes || count >= manyComponents
    }

    /// The smallest number of components, at least this, after which the next component has new neighbors.
    private static func nextNeighbors(after count: Int) -> Int {
        let four = TernarySparsity.neighbors
        return (count + four - 1) / four * four
    }

    /// Number of descents in a round with `count` components.
    static func descents(_ count: Int) -> Int { count < fewComponents ? 2 : 1 }

    /// Solves for the scales after components `first...` were added or changed.
    private mutating func refit(from first: Int, left: Bool = true, right: Bool = true) throws {
        solver.update(components, from: first, left: left, right: right)
        components.s = try solver.solution()
        residual = components.residual(of: matrix, workspace)
    }
}

// MARK: - New components

extension GreedyDecomposer {
    /// Appends `count` pairs, each found on the residual of the earlier ones in the round.
    private mutating func addPairs(_ count: Int) throws {
        var deflated = Deflation(residual)
        var (us, vs): ([Float], [Float]) = ([], [])
        var nonzeros = 0
        while vs.count < count * matrix.columns {
            if !vs.isEmpty { try subspace.iterate(deflated.matrix, times: 1) }
            let rows = subspace.basis.transposed()
            let wanted = min(stride, count - vs.count / matrix.columns)
            for j in 0..<wanted {
                let start = rows.rows(j..<j + 1)
                let pair =
                    options.refines
                    ? deflated.takePair(near: start, alternations: Self.alternations, &projection)
                    : deflated.projectedPair(start, &projection)
                us += pair.u
                vs += pair.v
                nonzeros += pair.nonzeros
            }
        }
        pricePerNonzero = Float(deflated.removed / Double(max(1, nonzeros)))
        components.append(u: us, v: vs)
    }
}

// MARK: - Refinement

extension GreedyDecomposer {
    /// Passes over each row of U, then of V, per descent.
    private static let passes = 2

    /// The price of a non-zero.
    private var price: Float { options.price * pricePerNonzero * (leadingWeight > 0 ? Self.leadingPrice : 1) * discount }

    /// (I + α·QQᵀ)·R with the leading subspace Q of R. The tolerance bounds the largest singular value, but the descent lowers
    /// the sum of all squares. With gradients from this matrix, the effect of an entry on the leading directions counts 1 + α
    /// times.
    private func weightedResidual() -> Tensor {
        guard leadingWeight > 0 else { return residual }
        let basis = subspace.basis
        var result = matmul(basis, .asStored, matmul(basis, .transposed, residual))
        result.scale(by: leadingWeight)
        result.add(residual)
        return result
    }

    /// One descent over U and one over V, followed by a refit of the scales; components left without entries are dropped unless
    /// they keep their places.
    private mutating func descend(price: Float, _ eachHalf: () throws -> Void = {}) throws {
        repeat {
            for left in [true, false] {
                try eachHalf()
                try descend(left: left, price: price)
            }
            // Dropping components has changed the neighbors of later ones.
        } while !keepsSparsity
    }

    private var keepsSparsity: Bool { components.keep(to: options.sparsity, isTransposed: isTransposed) }

    /// Makes a given start satisfy 2:4 if it needed no descent.
    private mutating func keepSparsity() throws {
        if !keepsSparsity { try descend(price: price) }
    }

    /// Optimizes every entry of U (or V) with the other factor and the scales fixed. If all directions have the same weight,
    /// every change lowers ‖R‖² + price·non-zeros.
    private mutating func descend(left: Bool, price: Float) throws {
        let k = components.count
        let (m, n) = (components.m, components.n)
        let length = left ? m : n
        let (coefficients, gradients) = (workspace.take(.coefficients, k * length), workspace.take(.gradients, k * length))
        // R·Vᵀ (rows of U), or Rᵀ·U (rows of Vᵀ), formed by component because that is how V and Uᵀ are stored.
        let images = workspace.take(.images, k * length)
        images.update(repeating: 0, count: k * length)
        let gradient = weightedResidual()
        let source = left ? gradient.transposed() : gradient
        (left ? components.v : components.ut).withUnsafeBufferPointer {
            if let fixed = $0.baseAddress { ck_ternary_accumulate(fixed, k, left ? n : m, source.pointer, length, 1, images) }
        }
        ck_transpose(images, k, length, gradients)
        (left ? components.ut : components.v).withUnsafeBufferPointer {
            if let vectors = $0.baseAddress { ck_transpose(vectors, k, length, coefficients) }
        }
        let changes = changes(coefficients, gradients, length, left: left, price: price)
        guard changes > 0 || scalesAreStale else { return }
        components.replace(left: left, columns: coefficients)
        let dropped = dropEmpty()
        if left, !dropped, k >= Self.fewComponents {
            // The scales can wait for the following descent over V, since a refit is the most expensive part of a large round.
            solver.updateLeftDots(components)
            residual = components.residual(of: matrix, workspace)
            scalesAreStale = true
            return
        }
        try refit(from: 0, left: left || dropped, right: !left || dropped)
        scalesAreStale = false
    }

    /// Drops components left without entries, except for places that are kept. Returns whether any component has changed.
    private mutating func dropEmpty() -> Bool {
        switch kept {
        case .none: components.filter(components.isAlive)
        case .amongOthers: components.dropEmpty(neighbors: TernarySparsity.neighbors)
        case .all: false
        }
    }

    /// Descends over `length` rows of coefficients; returns the number of changes.
    private func changes(
        _ coefficients: UnsafeMutablePointer<Float>, _ gradients: UnsafeMutablePointer<Float>, _ length: Int, left: Bool,
        price: Float
    ) -> Int {
        let (dots, ld) = left ? solver.rightDots : solver.leftDots
        let (k, s, passes) = (components.count, components.s, Int32(Self.passes))
        let prices = [Float](repeating: price, count: k)
        guard options.sparsity == .twoOfFour else {
            return ck_ternary_descend(coefficients, gradients, length, k, s, dots.pointer, ld, prices, passes)
        }
        // A row of coefficients is a row of U, or holds one entry of each row of V.
        let across: Int32 = left == isTransposed ? 1 : 0
        return ck_ternary_thin(coefficients, gradients, length, k, s, dots.pointer, ld, nil, across)
            + ck_ternary_descend_sparse(
                coefficients, gradients, length, k, s, dots.pointer, ld, prices, passes, across, 0, length)
    }

    /// Raises the price of a non-zero for as long as the residual stays within the tolerance, which uses up the margin of the
    /// last round. With economy and few components an increase that was too large is halved and tried again. With many
    /// components a trial, which costs as much as a round, is too expensive for that.
    ///
    /// - Parameter error: the relative operator norm of the present residual.
    /// - Returns: that of the residual that it ends with.
    private mutating func trim(from error: Float) throws -> Float {
        let few = components.count < Self.fewComponents
        let economizes = few && options.economizes
        var (rise, trials): (Float, Int) = few ? (0.12, economizes ? 20 : 12) : (0.3, 3)
        let leastRise: Float = economizes ? 0.01 : rise
        leadingWeight = economizes ? Self.finalLeadingWeight : 0
        var price = price
        var best = (components, residual, error: error)
        for _ in 0..<trials {
            let before = (components, residual)
            try descend(price: price * (1 + rise))
            if let error = try errorWithinTolerance(iterations: economizes ? 4 : 2) {
                price *= 1 + rise
                if components.nonzeros < best.0.nonzeros { best = (components, residual, error) }
                continue
            }
            guard rise > leastRise else { break }
            rise /= 2
            (components, residual) = before
            try refit(from: 0)
        }
        // The solver keeps the state of the last trial, since no descent follows.
        (components, residual) = (best.0, best.1)
        return best.error
    }

    /// The residual's relative operator norm; nil where it is not within the tolerance. Ritz values are lower bounds: where
    /// they are already too large, the full set of singular values need not be computed.
    private mutating func errorWithinTolerance(iterations: Int) throws -> Float? {
        try subspace.iterate(residual, times: iterations)
        let limit = options.tolerance * norm
        guard subspace.values[0] < limit else { return nil }
        let largest = try residual.spectralNorm()
        return largest < limit ? largest / norm : nil
    }
}

// MARK: - In training

extension GreedyDecomposer {
    /// Adapts components to a matrix that has changed a little since they were found. The residual may grow or shrink, and no
    /// component is added. Under 2:4 no component is dropped either: 2:4 holds for digits because of their places, and all
    /// components after a dropped one would get new neighbors and have to be thinned out.
    ///
    /// - Parameter eachHalf: called before every descent over U and over V; what it throws ends the adaptation.
    static func adapt(
        _ problem: Problem, _ options: TernaryOptions, _ adaptation: inout Adaptation, _ eachHalf: () throws -> Void
    ) throws -> Components {
        var decomposer = try GreedyDecomposer(problem, options, needsNorm: false)
        if options.sparsity != .none { decomposer.kept = .all }
        try decomposer.adapt(&adaptation, eachHalf)
        return decomposer.components
    }

    /// The largest share of the budget that an adaptation leaves unused, if possible.
    private static let unused = 0.005
    /// The most descents of an adaptation, and how many of them may lower the price.
    private static let (descents, lowering) = (24, 8)
    /// Almost 0, since a layer that has lost components may never reach its budget again.
    private static let leastPrice: Float = 0.01

    /// Descends until the non-zeros meet the budget. The price is the multiplier of this constraint, and is searched from both
    /// sides: non-zeros that too high a price removes come back with a lower one. A step of the price aims at the middle of the
    /// allowed range; the number of non-zeros changes by about its tenth root. If that does not succeed, the price rises until
    /// the non-zeros are within the budget.
    ///
    /// The price is a multiple of the squared residual of an entry in a typical row, so that a single large channel, such as
    /// one that has just left its scale, does not affect it.
    private mutating func adapt(_ adaptation: inout Adaptation, _ eachHalf: () throws -> Void) throws {
        guard components.count > 0, let usual = residual.usualMeanSquare else { return try keepSparsity() }
        let budget = Double(adaptation.budget)
        for descent in 1...Self.descents {
            try descend(price: adaptation.price * Float(usual), eachHalf)
            let nonzeros = Double(components.nonzeros)
            let mayLower = descent < Self.lowering
            if nonzeros <= budget, !mayLower || nonzeros >= (1 - Self.unused) * budget { return }
            let change = pow(nonzeros / ((1 - Self.unused / 2) * budget), 10)
            adaptation.price = max(Self.leastPrice, adaptation.price * (mayLower ? Float(min(2, max(0.5, change))) : 1.25))
        }
    }
}

extension Components {
    /// Appends components of zeros.
    mutating func pad(to componentCount: Int) {
        let missing = componentCount - count
        guard missing > 0 else { return }
        append(u: [Float](repeating: 0, count: missing * m), v: [Float](repeating: 0, count: missing * n))
    }
}
