/// The work of decomposing one matrix, counted round by round with the loop's own rules (see `GreedyDecomposer`,
/// `ReferenceDecomposer`). The number of components of a matrix depends on its entries, and has to be given.
package struct DecompositionCost: Sendable, Equatable {
    /// Rounds that add components.
    package var rounds = 0
    /// Additions of sums over the entries of U or V if none of these were 0: k·m·n each.
    package var sums = 0.0
    /// Entries of U and V that descents examine, counted once for each descent.
    package var entries = 0.0
    /// Pairs of 64 entries compared for UᵀU and VVᵀ, by counting bits.
    package var words = 0.0
    /// Entries of vectors that are projected to −1, 0 and 1, by sorting them.
    package var projections = 0.0
    /// Entries of the matrix that are written again.
    package var copies = 0.0
    /// Operations of products with a few vectors, in float32.
    package var products = 0.0
    /// Operations of factorizations and solutions of the scales' equations.
    package var solves = 0.0
    /// Operations of singular values in float32, half of which are products of a matrix and a vector.
    package var reductions = 0.0
    /// Operations of orthonormal bases of a few vectors and of their singular values.
    package var bases = 0.0
    /// Operations of whole singular value decompositions in double precision.
    package var decompositions = 0.0
}

extension TernaryOptions {
    /// The work of decomposing a matrix of m rows and n columns into this many components.
    package func cost(rows: Int, columns: Int, components: Int) -> DecompositionCost {
        let (m, n) = (min(rows, columns), max(rows, columns))
        return switch mode {
        case .default: GreedyDecomposer.cost(rows: m, columns: n, components: components, self)
        case .reference: ReferenceDecomposer.cost(rows: m, columns: n, components: components, self)
        }
    }
}

extension GreedyDecomposer {
    /// Increases of the price that are tried after the last round for most matrices. The last one goes too far, or the last
    /// four if increases are halved again and again.
    private static let (usualTrials, economicTrials) = (2, 8)

    /// - Parameters:
    ///   - m, n: rows and columns, m ≤ n.
    ///   - components: of the result.
    static func cost(rows m: Int, columns n: Int, components: Int, _ options: TernaryOptions) -> DecompositionCost {
        let stride = min(options.stride(rows: m, columns: n), m)
        var cost = DecompositionCost()
        // Singular values of the matrix before, and of the residual when it seems to be within the tolerance.
        for _ in 0..<2 { cost.takeSingularValues(m, n) }
        cost.iterate(m, n, stride, times: 2)
        var count = 0
        while count < components {
            // Forecasts that rounds use are assumed to be right.
            let left = usesForecast(options, count) ? components - count : nil
            let added = options.refines ? roundSize(after: count, stride: stride, expected: left) : stride
            count += added
            cost.rounds += 1
            cost.iterate(m, n, stride, times: 2)
            for _ in 0..<(added - 1) / stride { cost.iterate(m, n, stride, times: 1) }
            // For each pair both sides, and its deflation of the residual, which is stored both as it is and transposed.
            let (sides, sums) = options.refines ? (2 * alternations + 1, 2 * alternations + 2) : (2, 0)
            cost.projections += 0.5 * Double(sides * added * (m + n))
            cost.sums += Double(sums * added) * Double(m) * Double(n)
            cost.copies += 3 * Double(m) * Double(n)
            cost.solve(m, n, new: added, of: count)
            guard options.refines else { continue }
            for _ in 0..<descents(count) { cost.descend(m, n, count) }
        }
        guard options.refines else { return cost }
        for _ in 0..<(options.economizes && components < fewComponents ? economicTrials : usualTrials) {
            cost.descend(m, n, components)
            cost.iterate(m, n, stride, times: 2)
            cost.takeSingularValues(m, n)
        }
        return cost
    }
}

extension DecompositionCost {
    /// With twice as many vectors as components in a stride: products, an orthonormal basis each time, and their singular
    /// values.
    fileprivate mutating func iterate(_ m: Int, _ n: Int, _ stride: Int, times: Int) {
        let (m, n, vectors) = (Double(m), Double(n), Double(min(2 * stride, m)))
        products += Double(4 * times + 2) * m * n * vectors
        bases += (Double(4 * times) * m + 14 * n) * vectors * vectors
    }

    fileprivate mutating func takeSingularValues(_ m: Int, _ n: Int) {
        let (m, n) = (Double(m), Double(n))
        reductions += 4 * m * m * n - 4 * m * m * m / 3
    }

    /// The scales after new components, by the factor extended, and the residual.
    fileprivate mutating func solve(_ m: Int, _ n: Int, new: Int, of count: Int) {
        let (m, n, new, k) = (Double(m), Double(n), Double(new), Double(count))
        sums += (new + k) * m * n
        words += new * k * (m + n) / 64
        solves += new * k * k
    }

    /// Over U and over V: the gradients of each; the images of V and both residuals; both Gram matrices; and the scales, of few
    /// components after either.
    fileprivate mutating func descend(_ m: Int, _ n: Int, _ count: Int) {
        let (m, n, k) = (Double(m), Double(n), Double(count))
        sums += 5 * k * m * n
        entries += k * (m + n)
        words += 0.5 * k * k * (m + n) / 64
        solves += (count < GreedyDecomposer.fewComponents ? 2 : 1) * k * k * k / 3
    }
}

extension ReferenceDecomposer {
    /// - Parameters:
    ///   - m, n: rows and columns, m ≤ n.
    ///   - components: of the result.
    static func cost(rows m: Int, columns n: Int, components: Int, _ options: TernaryOptions) -> DecompositionCost {
        let stride = options.stride(rows: m, columns: n)
        var cost = DecompositionCost()
        cost.takeSingularValues(m, n)
        func decompose() { cost.decompositions += 20 * Double(m) * Double(m) * Double(n) }
        decompose()
        var count = 0
        while count < components {
            count += stride
            cost.rounds += 1
            cost.projections += Double(stride * (m + n))
            cost.solve(m, n, new: stride, of: count)
            // In double precision, from the beginning.
            cost.solves += 2 * Double(count) * Double(count) * Double(count) / 3
            decompose()
        }
        return cost
    }
}

extension WeightedDescent {
    /// The work of a round for a matrix `[m, n]` with k components, counted step by step: a descent over U (mnk + mk²
    /// multiply-adds), one over V (2·mnk + 6·n²k + nk² + mk²), the scales after it (mnk), and the scales after either (2·mk²
    /// and a factorization).
    ///
    /// - Returns: operations of products, and of factorizations in double precision.
    package static func roundCost(rows: Int, columns: Int, components: Int) -> (products: Double, solves: Double) {
        let (m, n, k) = (Double(rows), Double(columns), Double(components))
        return (2 * (4 * m * n * k + 6 * n * n * k + n * k * k + 6 * m * k * k), 2 * k * k * k / 3)
    }
}
