internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// W ≈ diag(a)·U·diag(s)·V·diag(b) with U ∈ {−1, 0, 1}^{m×k}, V ∈ {−1, 0, 1}^{k×n}; a and b are all ones unless balanced.
package struct TernaryDecomposition: Sendable {
    /// `[m, k]`, ternary.
    package let u: Tensor
    /// `[k]`.
    package let s: Tensor
    /// `[k, n]`, ternary.
    package let v: Tensor
    /// The scales of rows and columns, where the matrix was balanced.
    package let balance: Balance?
    /// Largest singular value of the residual over that of the (balanced) matrix.
    package let relativeError: Float

    package init(u: Tensor, s: Tensor, v: Tensor, balance: Balance? = nil, relativeError: Float) {
        precondition(u.columns == s.count && v.rows == s.count, "factors \(u.shape) \(s.shape) \(v.shape)")
        (self.u, self.s, self.v, self.balance, self.relativeError) = (u, s, v, balance, relativeError)
    }

    package var componentCount: Int { s.count }
    /// Non-zeros of U and V: the additions per token.
    package var nonzeros: Int { u.nonzeroCount + v.nonzeroCount }
    /// Share of zeros in U and V.
    package var sparsity: Float { u.count + v.count == 0 ? 0 : 1 - Float(nonzeros) / Float(u.count + v.count) }

    /// Whether a matrix is left alone: nine weights or fewer.
    package static func isTooSmall(_ shape: [Int]) -> Bool { shape.reduce(1, *) <= 9 }

    /// U·diag(s)·V for U `[m, k]` and V `[k, n]`, by additions in a fixed order.
    package static func product(u: Tensor, s: Tensor, v: Tensor) -> Tensor {
        // Where rows of V have little more than one non-zero, most terms are 0, and leaving them out does not change the sums.
        v.nonzeroCount <= 2 * s.count ? sparseProduct(u, s, v) : TernarySum(u: u, v: v).product(s)
    }

    private static func sparseProduct(_ u: Tensor, _ s: Tensor, _ v: Tensor) -> Tensor {
        let (m, k, n) = (u.shape[0], s.count, v.shape[1])
        let (columns, scales, rows) = (u.transposed(), s.pointer, v.pointer)
        var transposed = Tensor(zeros: [n, m])
        let target = transposed.mutablePointer
        for j in 0..<k {
            for c in 0..<n where rows[j * n + c] != 0 {
                ck_axpy(rows[j * n + c] * scales[j], columns.pointer + j * m, target + c * m, m)
            }
        }
        return transposed.transposed()
    }

    /// Decomposes a matrix.
    ///
    /// - Parameters:
    ///   - weight: `[m, n]`.
    ///   - name: the matrix's name in errors.
    ///   - start: components to begin with (`u`, `v` of the shapes above), for a warm start.
    ///   - eachRound: called every round, for example to answer messages of waiting ranks. An error that it throws ends the
    ///     decomposition.
    /// - Throws: `TernaryError`: a setting out of range, a weight that is not finite or that LAPACK cannot work on, a stalled
    ///   loop.
    package init(
        _ weight: Tensor, _ options: TernaryOptions, name: String = "the matrix", start: (u: Tensor, v: Tensor)? = nil,
        eachRound: () throws -> Void = {}
    ) throws {
        let m = weight.rows
        let n = weight.columns
        let batch = try TernaryDecomposition.batch(
            weight.reshaped([1, m, n]), options, name: name,
            start: start.map { ($0.u.reshaped([1, m, $0.u.columns]), $0.v.reshaped([1, $0.v.rows, n])) }, eachRound: eachRound)
        self = batch[0]
    }

    /// Adapts the components `start` to a weight that has changed a little since they were found, by coordinate descent: no
    /// more non-zeros than the budget, whatever becomes of the error (which is not computed: ``relativeError`` is NaN).
    /// `eachRound` is called twice in each descent.
    static func adapting(
        _ start: (u: Tensor, v: Tensor), to weight: Tensor, _ options: TernaryOptions, _ adaptation: inout Adaptation,
        eachRound: () throws -> Void = {}
    ) throws -> TernaryDecomposition {
        let scale = weight.powerOfTwoAboveMagnitude
        var matrix = weight.copy()
        matrix.scale(by: 1 / scale)
        let problem = Problem(matrix, options, start: start)
        return problem.finish(try GreedyDecomposer.adapt(problem, options, &adaptation, eachRound), error: .nan, scale: scale)
    }

    /// Decomposes matrices of one shape into equally many components, as the groups of a convolution require.
    ///
    /// - Parameters:
    ///   - weights: `[B, m, n]`.
    ///   - start: U `[B, m, k]` and V `[B, k, n]` to begin with.
    /// - Throws: as the initializer.
    package static func batch(
        _ weights: Tensor, _ options: TernaryOptions, name: String = "the matrix", start: (u: Tensor, v: Tensor)? = nil,
        eachRound: () throws -> Void = {}
    ) throws -> [TernaryDecomposition] {
        precondition(weights.shape.count == 3, "a batch of matrices, not \(weights.shape)")
        try options.validate()
        guard weights.isFinite else {
            throw TernaryError(.data, "\(name) has a weight that is not finite; repair the checkpoint")
        }
        let (count, m, n) = (weights.shape[0], weights.shape[1], weights.shape[2])
        // A power of two changes no digit, and keeps squares of any weight within float32.
        let scale = weights.powerOfTwoAboveMagnitude
        var problems: [Problem] = []
        for b in 0..<count {
            var matrix = weights.reshaped([count * m, n]).rows(b * m..<(b + 1) * m)
            matrix.scale(by: 1 / scale)
            let startHere = start.map { start in
                let k = start.v.shape[1]
                return (
                    u: start.u.reshaped([count * m, k]).rows(b * m..<(b + 1) * m),
                    v: start.v.reshaped([count * k, n]).rows(b * k..<(b + 1) * k)
                )
            }
            problems.append(Problem(matrix, options, start: startHere))
        }
        let solved = try TernaryError.naming(name) {
            switch options.mode {
            case .reference: try ReferenceDecomposer.decompose(problems, options, name: name, eachRound)
            case .default: try GreedyDecomposer.decompose(problems, options, name: name, eachRound)
            }
        }
        return zip(problems, solved).map { $0.finish($1.components, error: $1.error, scale: scale) }
    }
}

/// One matrix as the decomposers see it: balanced if asked for, and no taller than wide.
struct Problem {
    /// `[m, n]`, m ≤ n.
    let matrix: Tensor
    /// Components to begin with.
    let start: Components?
    let isTransposed: Bool
    private let balance: Balance?

    init(_ weight: Tensor, _ options: TernaryOptions, start: (u: Tensor, v: Tensor)?) {
        balance = options.balances ? Balance(weight) : nil
        let balanced = balance?.applied(to: weight) ?? weight
        isTransposed = weight.rows > weight.columns
        matrix = isTransposed ? balanced.transposed() : balanced
        let transposed = isTransposed
        self.start = start.map { start in
            let scales = Tensor(zeros: [start.v.rows])
            return transposed
                ? Components(u: start.v.transposed(), s: scales, v: start.u.transposed())
                : Components(u: start.u, s: scales, v: start.v)
        }
    }

    func finish(_ components: Components, error: Float, scale: Float) -> TernaryDecomposition {
        let k = components.count
        var s = Tensor(components.s, [k])
        s.scale(by: scale)
        let (left, right) = (Tensor(components.ut, [k, components.m]), Tensor(components.v, [k, components.n]))
        return TernaryDecomposition(
            u: (isTransposed ? right : left).transposed(), s: s, v: isTransposed ? left : right, balance: balance,
            relativeError: error)
    }
}

extension Tensor {
    var nonzeroCount: Int { withElements { $0.lazy.filter { $0 != 0 }.count } }

    /// The smallest power of two above every magnitude; 1 for zeros.
    fileprivate var powerOfTwoAboveMagnitude: Float {
        let largest = maxMagnitude
        guard largest > 0 else { return 1 }
        // The reciprocal must exist too.
        return Float(sign: .plus, exponent: min(126, max(-126, Int(largest.exponent) + 1)), significand: 1)
    }
}
