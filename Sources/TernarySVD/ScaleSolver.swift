internal import CKernels
internal import LinearAlgebra
internal import TensorCore

/// Damped least squares for the scales: s = argmin ‖W − U·diag(s)·V‖_F, that is (K + λI)·s = x with K = (UᵀU)∘(VVᵀ),
/// x_j = u_jᵀ·W·v_jᵀ and λ = 1e-5·√(ΣK²/k).
///
/// UᵀU and VVᵀ are counted on bit rows; x needs additions only, in float32 unless asked for exactly.
struct ScaleSolver {
    static let damping = 1e-5

    /// Dot products of the components' vectors on one side, and the bits they are counted from.
    private struct Gram {
        let length: Int
        private(set) var count = 0
        private(set) var capacity = 0
        private(set) var dots = Tensor(zeros: [0])
        private var bits: [UInt64] = []
        private let words: Int

        init(length: Int) { (self.length, words) = (length, (length + 63) / 64) }

        /// Rows `first...` of the dot products, from the vectors (k rows of `length`).
        mutating func update(_ vectors: [Float], from first: Int) {
            let k = vectors.count / length
            if k > capacity {
                let grown = max(k, capacity + capacity / 4, 64)
                var larger = Tensor(uninitialized: [grown, grown])
                let (target, source) = (larger.mutablePointer, dots.pointer)
                for i in 0..<first { (target + i * grown).update(from: source + i * capacity, count: first) }
                (dots, capacity) = (larger, grown)
            }
            bits.removeLast(bits.count - min(bits.count, first * 2 * words))
            bits += [UInt64](repeating: 0, count: (k - first) * 2 * words)
            vectors.withUnsafeBufferPointer { source in
                bits.withUnsafeMutableBufferPointer { [length, words] target in
                    guard let from = source.baseAddress, let to = target.baseAddress, k > first else { return }
                    ck_ternary_bits(from + first * length, k - first, length, to + first * 2 * words, words)
                }
            }
            ck_ternary_gram(bits, words, first, k, dots.mutablePointer, capacity)
            count = k
        }
    }

    private let workspace: Workspace
    /// W, in the form that x is computed from.
    private enum Target {
        case transposed(Tensor)
        /// The matrix itself, for sums in double precision.
        case exact(Tensor)
    }
    private let target: Target
    private var left: Gram
    private var right: Gram
    /// x, one entry per component.
    private var projections: [Double] = []
    /// W·v_j of all components as rows, valid while V is unchanged.
    private var images: [Float] = []
    private var factor = CholeskyFactor()
    /// λ of the present factor.
    private var factorDamping = 0.0
    /// ΣK².
    private var squares = 0.0

    /// - Parameter exact: whether x is summed in double precision.
    init(_ target: Tensor, _ workspace: Workspace = Workspace(), exact: Bool = false) {
        self.workspace = workspace
        self.target = exact ? .exact(target) : .transposed(target.transposed())
        left = Gram(length: target.rows)
        right = Gram(length: target.columns)
    }

    /// VVᵀ and its leading dimension.
    var rightDots: (Tensor, Int) { (right.dots, right.capacity) }
    /// UᵀU and its leading dimension.
    var leftDots: (Tensor, Int) { (left.dots, left.capacity) }

    /// Uses changed left vectors only for ``leftDots``; ``update(_:from:left:right:)`` must follow before the next solution.
    mutating func updateLeftDots(_ components: Components) {
        left.update(components.ut, from: 0)
        factor.reset()
    }

    /// Updates for components `first...`, which are new or whose vectors on the given sides have changed.
    mutating func update(
        _ components: Components, from first: Int, left leftChanged: Bool = true, right rightChanged: Bool = true
    ) {
        if leftChanged { left.update(components.ut, from: first) }
        if rightChanged { right.update(components.v, from: first) }
        projections.removeLast(projections.count - min(projections.count, first))
        switch target {
        case .exact(let w): projections += components.exactProjections(of: w, from: first)
        case .transposed(let w): project(components, on: w, from: first, rightChanged: rightChanged)
        }
        if first < factor.order { factor.reset() }
    }

    private mutating func project(_ components: Components, on transposed: Tensor, from first: Int, rightChanged: Bool) {
        let (m, n, k) = (components.m, components.n, components.count)
        // W·v_j of the components that are new or have a changed v, and one dot product for each.
        let begin = rightChanged ? first : min(images.count / m, k)
        images.removeLast(images.count - begin * m)
        images += [Float](repeating: 0, count: (k - begin) * m)
        components.v.withUnsafeBufferPointer { v in
            images.withUnsafeMutableBufferPointer { images in
                guard let v = v.baseAddress, let images = images.baseAddress, k > begin else { return }
                ck_ternary_accumulate(v + begin * n, k - begin, n, transposed.pointer, m, 1, images + begin * m)
            }
        }
        components.ut.withUnsafeBufferPointer { u in
            for j in first..<k {
                var sum = 0.0
                for i in 0..<m { sum += Double(u[j * m + i] * images[j * m + i]) }
                projections.append(sum)
            }
        }
    }

    /// Row i of K = (UᵀU)∘(VVᵀ) up to its diagonal; returns what the row adds to ΣK².
    private static func kernelRow(_ i: Int, _ left: Gram, _ right: Gram, into target: UnsafeMutablePointer<Float>) -> Double {
        let squares = ck_ternary_kernel_row(
            left.dots.pointer + i * left.capacity, right.dots.pointer + i * right.capacity, i + 1, target)
        let diagonal = Double(target[i])
        return 2 * squares - diagonal * diagonal
    }

    /// ΣK², for a damping shared by several matrices.
    func kernelSquares() -> Double {
        var row = [Float](repeating: 0, count: right.count)
        return (0..<right.count).map { Self.kernelRow($0, left, right, into: &row) }.reduce(0, +)
    }

    /// The scales in double precision with everything recomputed, as in the reference.
    ///
    /// - Parameter sharedSquares: ΣK² averaged over a batch of matrices, which share one damping.
    func exactSolution(sharedSquares: Double) throws(LAPACKError) -> [Float] {
        let k = right.count
        var matrix = [Double](repeating: 0, count: k * k)
        var row = [Float](repeating: 0, count: k)
        for i in 0..<k {
            _ = Self.kernelRow(i, left, right, into: &row)
            for j in 0...i { matrix[i * k + j] = Double(row[j]) }
        }
        let lambda = Self.damping * (sharedSquares / Double(max(1, k))).squareRoot()
        return try solvePositiveDefinite(&matrix, diagonal: lambda, projections).map { Float($0) }
    }

    /// The scales, from the previous call's Cholesky factor, extended to the new components.
    ///
    /// λ depends on K and would change every row of the factor. The factor keeps its first λ until the correct one differs by a
    /// quarter, which changes s by less than 3e-6 of itself. Then it is computed again.
    mutating func solution() throws(LAPACKError) -> [Float] {
        do {
            try extend()
            let lambda = Self.damping * (squares / Double(max(1, right.count))).squareRoot()
            if abs(lambda - factorDamping) > 0.25 * factorDamping {
                factor.reset()
                try extend()
            }
            return factor.solution()
        } catch {
            // Nearly equal components: in float32 the system looks singular, in double precision it does not.
            factor.reset()
            return try exactSolution(sharedSquares: kernelSquares())
        }
    }

    /// The scales of components that are all new to this solver.
    ///
    /// - Parameters:
    ///   - kept: the factor that an earlier call with the same U and V has left, whatever W was, or nil. With it only x
    ///     has to be computed, and the scales have the same bits. Nil afterwards where float32 was not enough.
    ///   - eachPart: called between the parts of the work.
    mutating func solution(
        of components: Components, keeping kept: inout CholeskyFactor?, _ eachPart: () throws -> Void
    ) throws -> [Float] {
        if kept == nil {
            left.update(components.ut, from: 0)
            try eachPart()
            right.update(components.v, from: 0)
            try eachPart()
        }
        if case .transposed(let w) = target { project(components, on: w, from: 0, rightChanged: true) }
        try eachPart()
        if let kept { return kept.solution(projections.map { Float($0) }) }
        let scales = try solution()
        kept = factor.order == components.count ? factor : nil
        try eachPart()
        return scales
    }

    private mutating func extend() throws(LAPACKError) {
        let (first, k) = (factor.order, right.count)
        guard k > first else { return }
        if first == 0 {
            squares = kernelSquares()
            factorDamping = Self.damping * (squares / Double(k)).squareRoot()
        }
        var added = 0.0
        let (left, right) = (left, right)
        try factor.append(
            count: k - first, diagonal: Float(factorDamping), rightHandSide: projections[first...].map { Float($0) }
        ) { target, stride in
            for i in first..<k { added += Self.kernelRow(i, left, right, into: target + (i - first) * stride) }
        }
        if first > 0 { squares += added }
    }
}
