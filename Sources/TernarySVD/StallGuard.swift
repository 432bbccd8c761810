internal import TensorCore

/// Ends a loop that finds the same components again and again: at low thresholds a projection may differ so much from the
/// singular vector that it removes nothing, and the published loop then runs for ever.
///
/// Progress is a fall of the largest singular value or of the sum of squares: of a matrix whose singular values are all the
/// same the largest stays until every direction has been dealt with.
struct StallGuard {
    /// Rounds within which one of the two must fall by one part in a hundred.
    static let mostIdleRounds = 60
    /// Components for each row or column of the longer side; the residual of a matrix that still is not within its tolerance is
    /// rounding errors of those before.
    static let mostComponents = 128

    let tolerance: Float
    let name: String
    private var best = (error: Float.infinity, squares: Double.infinity)
    private var roundsSince = 0

    init(tolerance: Float, name: String) { (self.tolerance, self.name) = (tolerance, name) }

    /// - Parameters:
    ///   - error: the residual's largest singular value over the matrix's.
    ///   - residual: what the components leave of the matrix.
    ///   - components: how many they are.
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
