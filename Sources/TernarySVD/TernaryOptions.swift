/// How a matrix is decomposed. Defaults and dependencies between options are defined here, for settings and the public API.
package struct TernaryOptions: Sendable, Equatable {
    /// The algorithm that finds components.
    package enum Mode: String, Sendable, CaseIterable {
        /// Pairs near the residual's leading subspace, found by alternation; after each round coordinate descent over all
        /// entries of U and V, which minimizes ‖W − U·diag(s)·V‖² plus a price for each non-zero: fewer additions in less time.
        case `default`
        /// Step by step as published (arXiv 2308.07641): a full SVD every round, columns never reconsidered.
        case reference
    }

    /// The residual's largest singular value relative to the matrix's, in (0, 1).
    package var tolerance: Float
    /// Cosine between a singular vector and its ternary projection at which the projection stops growing, in (0, 1].
    package var threshold = Float(defaultThreshold)
    /// The stride is ⌊mn/(m+n)/rounds⌋ components a round.
    package var rounds = 20
    package var mode = Mode.default
    /// Whether the default mode reconsiders components: alternating pairs and coordinate descent.
    package var refinement = true
    /// Whether the default mode first scales rows and columns to equal root mean square; the tolerance then refers to the
    /// scaled matrix.
    package var balance = true
    /// The price of a non-zero in coordinate descent, as a share of the squared error that the next components remove per
    /// non-zero. Above 1 saves additions, below 1 saves components.
    package var price: Float = 0.85
    /// Whether, with few components, only the tolerance counts, which bounds the largest singular value. The residual's leading
    /// directions then count more in coordinate descent, and the remaining margin is used up in small steps. This saves
    /// components and additions, but leaves a larger sum of squares. nil: only if the matrix is not balanced, since for a
    /// balanced matrix the tolerance is a means to a low loss and no promise about W, and training gets better results without
    /// this (Benchmarks/ternary.md).
    package var economy: Bool?
    /// The sparsity of U and V, in the default mode with refinement.
    package var sparsity = TernarySparsity.none
    /// Key of the random start of the subspace.
    package var seed: UInt64 = 0

    /// The published one.
    package static let defaultThreshold = 0.8386

    package init(tolerance: Float, mode: Mode = .default) {
        self.tolerance = tolerance
        self.mode = mode
    }

    // The reference mode is the published algorithm: it neither balances nor refines.

    /// Whether rows and columns are scaled.
    package var balances: Bool { balance && mode == .default }
    /// Whether components are reconsidered.
    package var refines: Bool { refinement && mode == .default }
    /// Whether, with few components, only the tolerance counts.
    var economizes: Bool { economy ?? !balance }

    /// The same options for a matrix that has already been scaled.
    var scaledAlready: TernaryOptions {
        var options = self
        (options.economy, options.balance) = (economizes, false)
        return options
    }

    /// The smallest tolerance that can be reached, since the scales are damped by 1e-5 of their size, and residuals are sums in
    /// float32 (errors of about 6e-8 per term).
    package static let leastTolerance: Float = 1e-5

    /// - Throws: `TernaryError` (configuration) naming the first setting out of range.
    package func validate() throws(TernaryError) {
        guard tolerance > 0, tolerance < 1 else {
            throw TernaryError(.configuration, "ternary.tolerance is \(tolerance); it must lie between 0 and 1, both excluded")
        }
        guard tolerance >= Self.leastTolerance else {
            throw TernaryError(
                .configuration,
                "ternary.tolerance is \(tolerance); in float32 no decomposition comes nearer than \(Self.leastTolerance), the "
                    + "smallest allowed"
            )
        }
        guard threshold > 0, threshold <= 1 else {
            throw TernaryError(.configuration, "ternary.threshold is \(threshold); it must be above 0 and at most 1")
        }
        guard rounds >= 1 else { throw TernaryError(.configuration, "ternary.rounds is \(rounds); it must be at least 1") }
        guard price >= 0, price.isFinite else {
            throw TernaryError(.configuration, "the price of an entry is \(price); it must be 0 or a positive number")
        }
        guard sparsity == .none || refines else {
            throw TernaryError(
                .configuration,
                "ternary.sparsity=\(sparsity.rawValue) needs ternary.mode=default and ternary.refinement=true, whose descent "
                    + "keeps to it"
            )
        }
    }

    /// Components added per round to an m×n matrix.
    func stride(rows m: Int, columns n: Int) -> Int { max(1, m * n / (m + n) / rounds) }
}
