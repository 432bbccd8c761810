internal import LinearAlgebra
internal import TensorCore

/// The published decomposition, step by step: each round takes a full SVD of the residual, appends the projections of its r
/// leading pairs, and solves for all scales again. It is not optimized, since it is only the reference for the default mode.
/// The SVD, the scales and the residual are computed in double precision, because the projections depend on the last digits.
enum ReferenceDecomposer {
    /// Decomposes matrices of one shape together: a round adds the same number of components to each, the largest relative
    /// residual decides when to stop, and the damping is averaged over the batch.
    static func decompose(
        _ problems: [Problem], _ options: TernaryOptions, name: String, _ eachRound: () throws -> Void
    ) throws -> [(components: Components, error: Float)] {
        let (m, n) = (problems[0].matrix.rows, problems[0].matrix.columns)
        let r = options.stride(rows: m, columns: n)
        var states = try problems.map { try State($0) }
        var stallGuard = StallGuard(tolerance: options.tolerance, name: name)
        try refit(&states)
        while true {
            try eachRound()
            var (worst, slowest): (Float, Int) = (0, 0)
            let decompositions = try states.map { try SingularValueDecomposition(inDoublePrecision: $0.residual) }
            for (b, svd) in decompositions.enumerated() {
                states[b].error = states[b].relative(svd.values[0])
                if states[b].error > worst { (worst, slowest) = (states[b].error, b) }
            }
            if worst < options.tolerance { return states.map { ($0.components, $0.error) } }
            try stallGuard.check(worst, states[slowest].residual, components: states[slowest].components.count)
            for b in states.indices { states[b].append(decompositions[b], count: r, threshold: options.threshold) }
            try refit(&states)
        }
    }

    private static func refit(_ states: inout [State]) throws {
        guard states[0].components.count > 0 else { return }
        for b in states.indices { states[b].update() }
        let squares = states.map { $0.solver.kernelSquares() }.reduce(0, +) / Double(states.count)
        for b in states.indices { try states[b].refit(sharedSquares: squares) }
    }

    private struct State {
        let matrix: Tensor
        var components: Components
        var solver: ScaleSolver
        var residual: Tensor
        private let norm: Float
        var error: Float = 0
        private var solved = 0

        init(_ problem: Problem) throws(LAPACKError) {
            matrix = problem.matrix
            norm = try matrix.spectralNorm()
            components = problem.start ?? Components(m: matrix.rows, n: matrix.columns)
            solver = ScaleSolver(matrix, exact: true)
            residual = matrix
        }

        func relative(_ sigma: Float) -> Float { norm == 0 ? 0 : sigma / norm }

        mutating func append(_ svd: SingularValueDecomposition, count r: Int, threshold: Float) {
            let r = min(r, svd.values.count)
            let u = TernaryProjection.ofUnitRows(svd.u.transposed().rows(0..<r), threshold: threshold)
            let v = TernaryProjection.ofUnitRows(svd.vt.rows(0..<r), threshold: threshold)
            components.append(u: u.elements, v: v.elements)
        }

        mutating func update() {
            solver.update(components, from: solved)
            solved = components.count
        }

        mutating func refit(sharedSquares: Double) throws {
            components.s = try solver.exactSolution(sharedSquares: sharedSquares)
            residual = components.exactResidual(of: matrix)
        }
    }
}

extension Components {
    /// W − U·diag(s)·V `[m, n]`, summed in double precision and rounded once; 2·m·n·k operations.
    func exactResidual(of w: Tensor) -> Tensor {
        let scaled = DoubleStorage(Tensor(v, [count, n]), Double.init)
        for j in 0..<count {
            for l in j * n..<(j + 1) * n { scaled.pointer[l] *= Double(s[j]) }
        }
        let sum = multiply(m: m, n: n, k: count, DoubleStorage(u, Double.init), scaled)
        var result = w.copy()
        let target = result.mutablePointer
        for index in 0..<result.count { target[index] = Float(Double(target[index]) - sum.pointer[index]) }
        return result
    }

    /// x_j = u_jᵀ·W·v_j of components `first...`, in double precision.
    func exactProjections(of w: Tensor, from first: Int) -> [Double] {
        let rows = count - first
        let images = multiply(
            m: rows, n: m, k: n, DoubleStorage(Tensor(Array(v[(first * n)...]), [rows, n]), Double.init),
            DoubleStorage(w.transposed(), Double.init))
        return (0..<rows).map { j in
            (0..<m).reduce(0) { $0 + Double(ut[(first + j) * m + $1]) * images.pointer[j * m + $1] }
        }
    }
}
