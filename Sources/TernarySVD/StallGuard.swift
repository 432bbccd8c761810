internal import TensorCore

/// Ends a loop that finds the same components again and again. At low thresholds a projection may differ so much from the
/// singular vector that it removes nothing, and the published loop then runs forever.
///
/// Progress is a decrease of the largest singular value or of the sum of squares. In a matrix whose singular values are all
/// equal, the largest one stays until every direction has been reduced.
struct StallGuard {
    /// Rounds within which one of the two must fall by one part in a hundred.
    static let mostIdleRounds = 60
    /// Components per row or column of the longer side. If a matrix still is not within its tolerance, its residual consists of
    /// rounding errors of earlier components.
    static let mostComponents = 128

    let tolerance: Float
    let name: String
    private var best = (error: Float.infinity, squares: Double.infinity)
    private var roundsSince = 0

    init(tolerance: Float, name: String) { (self.tolerance, self.name) = (tolerance, name) }

    /// - Parameters:
    ///   - error: the residual's largest singular value over the matrix's.
    ///   - residual: the matrix minus the components.
    ///   - components: number of components.
    /// - Throws: `TernaryError` (stalled) after ``mostIdleRounds`` rounds without progress, and with ``mostComponents``.
    mutating func check(_ error: Float, _ residual: Tensor, components: Int) throws(TernaryError) {
        let squares = residual.squaredNorm
        guard components <= Self.mostComponents * max(residual.rows, residual.columns) else { throw stalled(error, components) }
        if error < 0.99 * best.error || squares < 0.99 * best.squares {
            (best, roundsSince) = ((min(error, best.error), min(squares, best.squares)), 0)
            return
        }
        roundsSince += 1
        guard roundsSince < Self.mostIdleRounds else { throw stalled(best.error, components) }
    }

    private func stalled(_ error: Float, _ components: Int) -> TernaryError {
        TernaryError(
            .stalled,
            "\(name): the residual stalls at \(error) of the largest singular value, above the tolerance \(tolerance), with "
                + "\(components) components; raise ternary.tolerance, or ternary.threshold if it is below "
                + "\(TernaryOptions.defaultThreshold), the default")
    }
}
