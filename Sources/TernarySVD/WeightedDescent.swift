internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// Ternary factors changed entry by entry so that the error of the layer's outputs falls: tr(O·E·H·Eᵀ) with
/// E = W − diag(a)·U·diag(s)·V·diag(b), see ``OutputNorm``. A change of an entry lowers the error plus the price of the
/// non-zeros: the error alone may rise where an entry is not worth its price, and where a is rounded.
///
/// Rows of U are independent of each other. For each, with F = diag(s)·V·diag(b), p = w·H·Fᵀ and G = F·H·Fᵀ are sufficient, and
/// entries take their best value of {−1, 0, 1} in turn. Columns of V depend on each other through H: they are updated one after
/// the other, and the effect of each change on the gradients of the other columns is added to these. In between, the scales s
/// and a are solved for by least squares.
///
/// Under 2:4 (``TernarySparsity``) entries that break it are removed first, where that costs least, and no later change breaks
/// it again.
///
/// A round costs 4·m·n·k + 6·n²·k + n·k² + 6·m·k² multiply-adds in products, two factorizations of k³/6, and about 2·k·(m + n)
/// per changed entry.
package struct WeightedDescent {
    /// The saving that a non-zero must bring, as a share of its component's curvature. The number of non-zeros then stays about
    /// the same.
    private static let price: Float = 0.05
    /// Number of rounds in `ptq`.
    package static let rounds = 6
    /// Passes over a row of U, and sweeps over the columns of V, in a round.
    private static let (passes, sweeps) = (4, 4)
    /// Columns of V whose changes are carried to the gradients of the others in one product.
    private static let block = 32

    private let norm: Tensor
    private let sparsity: TernarySparsity
    /// diag(a)⁻¹·W·diag(b)⁻¹.
    private var target: Tensor
    private var rowWeights: [Float]
    private var a: [Float]
    private let b: [Float]
    private let isBalanced: Bool
    /// `[m, k]` and `[k, n]`.
    private var u: Tensor
    private var v: Tensor
    private var s: [Float]
    /// tr(O·W·H·Wᵀ).
    private let energy: Double
    /// V·H in the balanced columns, `[k, n]`.
    private var images: Tensor

    private var componentCount: Int { s.count }

    /// - Parameters:
    ///   - weight: `[m, n]`.
    ///   - start: a decomposition of the weight, whose scales are rounded to bfloat16.
    package init(
        _ weight: Tensor, _ start: TernaryDecomposition, _ outputs: OutputNorm, _ weighting: TernaryWeighting,
        sparsity: TernarySparsity = .none
    ) {
        let (m, n) = (weight.rows, weight.columns)
        self.sparsity = sparsity
        isBalanced = start.balance != nil
        a = (start.balance?.a ?? [Float](repeating: 1, count: m)).map(\.roundedToBFloat16)
        b = (start.balance?.b ?? [Float](repeating: 1, count: n)).map(\.roundedToBFloat16)
        target = Balance(a: a, b: b).applied(to: weight)
        norm = outputs.balanced(b)
        let scales = weighting == .both ? start.balance?.a ?? Balance(weight).a : [Float](repeating: 1, count: m)
        rowWeights = zip(a, scales).map { ($0 / $1) * ($0 / $1) }
        (u, v, s) = (start.u.copy(), start.v.copy(), start.s.elements.map(\.roundedToBFloat16))
        images = matmul(v, .asStored, norm)
        energy = OutputNorm(inputs: norm).squared(target, rowWeights: rowWeights)
    }

    /// tr(O·E·H·Eᵀ) of the present factors.
    package var objective: Double { OutputNorm(inputs: norm).squared(residual, rowWeights: rowWeights) }

    /// √(tr(O·E·H·Eᵀ)/tr(O·W·H·Wᵀ)).
    package var relativeError: Double { energy > 0 ? (max(0, objective) / energy).squareRoot() : 0 }

    /// The present factors, without empty components unless others would get new neighbors. The error in the spectral norm is
    /// not computed, and is NaN.
    package func decomposition() -> TernaryDecomposition {
        let (m, n, k) = (u.shape[0], v.shape[1], componentCount)
        let kept = (0..<k).filter { j in
            guard sparsity == .none else { return true }
            return (0..<m).contains { u.pointer[$0 * k + j] != 0 } && (0..<n).contains { v.pointer[j * n + $0] != 0 }
                && s[j] != 0
        }
        let columns = u.transposed()
        func rows(_ source: Tensor) -> Tensor {
            Tensor(kept.flatMap { source.rows($0..<$0 + 1).elements }, [kept.count, source.shape[1]])
        }
        return TernaryDecomposition(
            u: rows(columns).transposed(), s: Tensor(kept.map { s[$0] }, [kept.count]), v: rows(v),
            balance: isBalanced ? Balance(a: a, b: b) : nil, relativeError: .nan)
    }

    /// Rounds of U, scales, V, scales.
    ///
    /// - Parameter eachStep: called before every step; what it throws ends the descent.
    package mutating func run(rounds: Int, eachStep: () throws -> Void = {}) throws {
        guard componentCount > 0 else { return }
        var gram = rightGram
        for _ in 0..<rounds {
            try eachStep()
            // Neither these products nor those of V with itself change before the scales are solved for.
            let products = targetProducts
            descendLeft(gram, products)
            try refit(gram, products)
            try eachStep()
            descendRight()
            gram = rightGram
            try refit(gram, targetProducts)
        }
    }

    /// V·H·Vᵀ, `[k, k]`.
    private var rightGram: Tensor { matmul(images, .asStored, v, .transposed) }
    /// W·H·Vᵀ, `[m, k]`.
    private var targetProducts: Tensor { matmul(target, .asStored, images, .transposed) }

    private var residual: Tensor {
        guard componentCount > 0 else { return target }
        var result = target.copy()
        matmul(scaledLeft, .asStored, v, .asStored, alpha: -1, beta: 1, into: &result)
        return result
    }

    /// U·diag(s).
    private var scaledLeft: Tensor {
        u.mappedRows { [s] _, source, target in
            s.withUnsafeBufferPointer { s in
                for j in s.indices { target[j] = source[j] * s[j] }
            }
        }
    }

    /// O·X for the weights O of the rows of X.
    private func weighted(_ matrix: Tensor) -> Tensor {
        let width = matrix.columns
        return matrix.mappedRows { i, source, target in
            let weight = rowWeights[i]
            for j in 0..<width { target[j] = source[j] * weight }
        }
    }
}

// MARK: - Entries

extension WeightedDescent {
    private mutating func descendLeft(_ gram: Tensor, _ products: Tensor) {
        let (m, k) = (u.shape[0], componentCount)
        var gradients = products.copy()
        matmul(scaledLeft, .asStored, gram, .asStored, alpha: -1, beta: 1, into: &gradients)
        let prices = (0..<k).map { Self.price * s[$0] * s[$0] * gram.pointer[$0 * (k + 1)] }
        let (entries, slopes, passes) = (u.mutablePointer, gradients.mutablePointer, Int32(Self.passes))
        guard sparsity == .twoOfFour else {
            _ = ck_ternary_descend(entries, slopes, m, k, s, gram.pointer, k, prices, passes)
            return
        }
        _ = ck_ternary_thin(entries, slopes, m, k, s, gram.pointer, k, nil, 0)
        _ = ck_ternary_descend_sparse(entries, slopes, m, k, s, gram.pointer, k, prices, passes, 0, 0, m)
    }

    /// Dᵀ·O·D for D = U·diag(s), `[k, k]`, and O·D, `[m, k]`.
    private var leftGram: (gram: Tensor, weighted: Tensor) {
        let left = scaledLeft
        let weighted = weighted(left)
        return (matmul(left, .transposed, weighted), weighted)
    }

    private mutating func descendRight() {
        let (k, n) = (componentCount, v.shape[1])
        let (gram, weighted) = leftGram
        if sparsity == .twoOfFour { thinRight(gram, weighted) }
        // Gradients and entries by column of V: H·(Eᵀ·O·D), `[n, k]`.
        var gradients = matmul(norm, .asStored, matmul(residual, .transposed, weighted))
        var columns = v.transposed()
        let prices = (0..<k).map { Self.price * gram.pointer[$0 * (k + 1)] }
        let ones = [Float](repeating: 1, count: k)
        var changes = Tensor(uninitialized: [Self.block, k])
        var current = [Float](repeating: 0, count: k)
        for _ in 0..<Self.sweeps {
            for first in stride(from: 0, to: n, by: Self.block) {
                let last = min(first + Self.block, n)
                let (q, change) = (gradients.mutablePointer, changes.mutablePointer)
                for c in first..<last {
                    // A single column is like a row of the problem above: its gradients divided by H_cc, with G instead of
                    // V·Vᵀ.
                    let (curve, own, moved) = (norm.pointer[c * (n + 1)], q + c * k, change + (c - first) * k)
                    for j in 0..<k { current[j] = own[j] / curve }
                    moved.update(from: current, count: k)
                    let entries = columns.mutablePointer + c * k
                    if sparsity == .twoOfFour {
                        _ = ck_ternary_descend_sparse(entries, &current, 1, k, ones, gram.pointer, k, prices, 1, 1, c, n)
                    } else {
                        _ = ck_ternary_descend(entries, &current, 1, k, ones, gram.pointer, k, prices, 1)
                    }
                    for j in 0..<k { moved[j] -= current[j] }
                    for other in first..<last { ck_axpy(-norm.pointer[c * n + other], moved, q + other * k, k) }
                }
                for rest in [0..<first, last..<n] where !rest.isEmpty {
                    gemm(
                        .asStored, .asStored, m: rest.count, n: k, k: last - first, alpha: -1,
                        norm.pointer + rest.lowerBound * n + first, lda: n, change, ldb: k, beta: 1, q + rest.lowerBound * k,
                        ldc: k)
                }
            }
        }
        v = columns.transposed()
        images = matmul(v, .asStored, norm)
    }
}

extension WeightedDescent {
    /// Makes V satisfy 2:4, judging each entry separately.
    private mutating func thinRight(_ gram: Tensor, _ weighted: Tensor) {
        let (k, n) = (componentCount, v.shape[1])
        guard !sparsity.holds(v) else { return }
        let curves = (0..<n).map { norm.pointer[$0 * (n + 1)] }
        var slopes = matmul(norm, .asStored, matmul(residual, .transposed, weighted))
        for c in 0..<n { ck_scale(1 / curves[c], slopes.mutablePointer + c * k, k) }
        var columns = v.transposed()
        let ones = [Float](repeating: 1, count: k)
        _ = ck_ternary_thin(columns.mutablePointer, slopes.mutablePointer, n, k, ones, gram.pointer, k, curves, 1)
        v = columns.transposed()
    }
}

// MARK: - Scales

extension WeightedDescent {
    /// s, then a, by least squares, each with everything else fixed, from the present ``rightGram`` and ``targetProducts``.
    private mutating func refit(_ gram: Tensor, _ products: Tensor) throws {
        let (m, k) = (u.shape[0], componentCount)
        try refitScales(gram, products)
        // ρ_i = (w_i·H·f_iᵀ)/(f_i·H·f_iᵀ) for the rows f of U·diag(s)·V.
        let left = scaledLeft
        let curves = matmul(left, .asStored, gram)
        for i in 0..<m {
            var (overlap, curve) = (0.0, 0.0)
            for j in i * k..<(i + 1) * k {
                overlap += Double(left.pointer[j]) * Double(products.pointer[j])
                curve += Double(left.pointer[j]) * Double(curves.pointer[j])
            }
            guard overlap > 0, curve > 0, isBalanced else { continue }
            let scale = (a[i] * Float(overlap / curve)).roundedToBFloat16
            let ratio = scale / a[i]
            guard ratio.isNormal else { continue }
            a[i] = scale
            rowWeights[i] *= ratio * ratio
            ck_scale(1 / ratio, target.mutablePointer + i * target.columns, target.columns)
        }
    }

    /// ((Uᵀ·O·U)∘G)·s = x with x_j = u_jᵀ·O·W·H·v_jᵀ.
    private mutating func refitScales(_ gram: Tensor, _ products: Tensor) throws {
        let (m, k) = (u.shape[0], componentCount)
        let weighted = weighted(u)
        let left = matmul(u, .transposed, weighted)
        let kernel = zip(left.elements, gram.elements).map { Double($0) * Double($1) }
        var x = [Double](repeating: 0, count: k)
        for i in 0..<m {
            for j in 0..<k { x[j] += Double(weighted.pointer[i * k + j]) * Double(products.pointer[i * k + j]) }
        }
        let squares = kernel.reduce(0) { $0 + $1 * $1 }
        var matrix = kernel
        let damping = ScaleSolver.damping * (squares / Double(k)).squareRoot()
        let solved = try solvePositiveDefinite(&matrix, diagonal: damping, x).map { Float($0).roundedToBFloat16 }
        // Damping and rounding may cost more than there is to gain.
        func value(_ s: [Float]) -> Double {
            var sum = 0.0
            for i in 0..<k {
                var row = -2 * x[i]
                for j in 0..<k { row += kernel[i * k + j] * Double(s[j]) }
                sum += Double(s[i]) * row
            }
            return sum
        }
        if value(solved) < value(s) { s = solved }
    }
}
