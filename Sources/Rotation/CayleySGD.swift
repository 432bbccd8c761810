internal import LinearAlgebra
package import TensorCore

/// Gradient descent on orthogonal matrices along the Cayley transform (arXiv 2002.01113; docs/algorithms.md, section 1).
///
/// With G = ∂loss/∂R = R·M and S = ½(M − Mᵀ),
///
///     α = min(lr, 1/(‖S‖₁ + 1e-8)),   R ← R·(I + ½αS)⁻¹·(I − ½αS),   ‖·‖₁ the largest column sum of |S|,
///
/// or α = lr/(‖S‖₁ + 1e-8) (``StepSize/relative``).
/// R is float32 and square, or `[p, n]` with p < n orthonormal rows. Momentum μ keeps B = R·S from step to step (with the R
/// before the update) and replaces G by G + μ·B.
package struct CayleySGD: Sendable {
    /// How the transform is computed.
    package enum Retraction: String, Sendable, CaseIterable {
        /// By solving the linear system in double precision: RᵀR stays I up to rounding.
        case exact
        /// Five fixed-point iterations after the rows are scaled to unit length. R drifts away from orthogonality between the
        /// occasional orthonormalizations, which `orthonormalized(_:)` performs. For comparison with the published method.
        case iterative
    }

    /// The meaning of the learning rate.
    package enum StepSize: Sendable {
        /// α, at most 1/‖S‖₁.
        case absolute
        /// α in units of 1/‖S‖₁, for losses whose scale has no meaning.
        case relative
    }

    /// When the iterative form first makes the rows orthonormal.
    package enum Orthonormalization: Sendable, Equatable {
        case never, always
        /// At one step in 101 on average, a function of seed and step only and so the same on every rank; also where R has
        /// drifted further than `CayleySGD/driftLimit`.
        case scheduled(seed: UInt64)

        func isDue(step: Int) -> Bool {
            switch self {
            case .never: return false
            case .always: return true
            case .scheduled(let seed):
                var random = RandomStream(seed: seed, stream: 0x5152)
                random.position = UInt64(step)
                return random.next() % 101 == 0
            }
        }
    }

    /// The largest max|RRᵀ − I| before R is orthonormalized outside the schedule.
    static let driftLimit: Float = 1e-3
    private static let iterations = 5
    private static let epsilon = 1e-8

    package let retraction: Retraction
    package let momentum: Float
    package let stepSize: StepSize
    package let orthonormalization: Orthonormalization
    /// Steps taken. A checkpoint needs this and `momentumBuffer`.
    package private(set) var steps: Int
    /// B = R·S of the last step, in the shape of R; nil before the first step and without momentum.
    package private(set) var momentumBuffer: Tensor?

    package init(
        retraction: Retraction = .exact, momentum: Float = 0, stepSize: StepSize = .absolute,
        orthonormalization: Orthonormalization = .scheduled(seed: 0), steps: Int = 0, momentumBuffer: Tensor? = nil
    ) {
        self.retraction = retraction
        self.momentum = momentum
        self.stepSize = stepSize
        self.orthonormalization = orthonormalization
        self.steps = steps
        self.momentumBuffer = momentumBuffer
    }

    /// One step from the packed skew part of M (``SkewMatrix/pack(_:)``), R square.
    ///
    /// - Throws: ``RotationError``; R and the state are then as before.
    package mutating func step(_ rotation: inout Tensor, skew packed: Tensor, learningRate: Float) throws(RotationError) {
        precondition(rotation.rows == rotation.columns, "a rotation of \(rotation.shape)")
        guard packed.isFinite else { throw .gradientNotFinite(step: steps) }
        let skew = SkewMatrix.unpack(packed, order: rotation.columns)
        if retraction == .iterative {
            // Only the skew part is known here; the symmetric part of M would affect only the first guess.
            try step(&rotation, gradient: matmul(rotation, .asStored, skew, .asStored), learningRate: learningRate)
            return
        }
        let begun = begin(rotation, skew, learningRate)
        let next = try begun.rows(0..<rotation.rows)
        finish(&rotation, next, from: rotation, begun.direction)
    }

    /// Begins an exact step, whose rows several ranks may then compute; ``finish(_:_:next:)`` ends it.
    ///
    /// - Throws: ``RotationError``.
    package func begin(_ rotation: Tensor, skew packed: Tensor, learningRate: Float) throws(RotationError) -> CayleyStep {
        precondition(retraction == .exact && rotation.rows == rotation.columns, "a rotation of \(rotation.shape)")
        guard packed.isFinite else { throw .gradientNotFinite(step: steps) }
        return begin(rotation, SkewMatrix.unpack(packed, order: rotation.columns), learningRate)
    }

    private func begin(_ rotation: Tensor, _ skew: Tensor, _ learningRate: Float) -> CayleyStep {
        var direction = skew
        if momentum != 0, let buffer = momentumBuffer {
            let carried = SkewMatrix.pack(matmul(rotation, .transposed, buffer, .asStored))
            direction.add(SkewMatrix.unpack(carried, order: rotation.columns), scale: momentum)
        }
        return CayleyStep(start: rotation, direction: direction, size: size(direction, learningRate))
    }

    /// Ends a step with all rows of the next rotation.
    package mutating func finish(_ rotation: inout Tensor, _ begun: CayleyStep, next: Tensor) {
        precondition(next.shape == rotation.shape, "\(next.shape) after \(rotation.shape)")
        finish(&rotation, next, from: begun.start, begun.direction)
    }

    /// One step from G = ∂loss/∂R, R `[p, n]` with p ≤ n.
    ///
    /// - Throws: ``RotationError``; R and the state are then as before.
    package mutating func step(_ rotation: inout Tensor, gradient: Tensor, learningRate: Float) throws(RotationError) {
        precondition(rotation.shape == gradient.shape && rotation.rows <= rotation.columns, "a rotation of \(rotation.shape)")
        guard gradient.isFinite else { throw .gradientNotFinite(step: steps) }
        let start = try retraction == .exact ? rotation : iterationStart(rotation)
        var effective = gradient
        if momentum != 0, let buffer = momentumBuffer { effective.add(buffer, scale: momentum) }
        let direction = Self.direction(start, effective)
        let size = size(direction, learningRate)
        let next =
            retraction == .exact
            ? try CayleyStep(start: start, direction: direction, size: size).rows(0..<start.rows)
            : Self.iterativeStep(start, direction, effective, size)
        finish(&rotation, next, from: start, direction)
    }

    private mutating func finish(_ rotation: inout Tensor, _ next: Tensor, from start: Tensor, _ direction: Tensor) {
        if momentum != 0 { momentumBuffer = matmul(start, .asStored, direction, .asStored) }
        rotation = next
        steps += 1
    }

    /// The skew direction of a gradient, n×n: W = Ŵ − Ŵᵀ, Ŵ = −(I − ½RᵀR)·GᵀR; for square R this is S.
    static func direction(_ rotation: Tensor, _ gradient: Tensor) -> Tensor {
        var product = matmul(gradient, .transposed, rotation, .asStored)
        product.scale(by: -1)
        let along = matmul(rotation, .asStored, product, .asStored)
        matmul(rotation, .transposed, along, .asStored, alpha: -0.5, beta: 1, into: &product)
        return product - product.transposed()
    }

    private func size(_ direction: Tensor, _ learningRate: Float) -> Float {
        switch stepSize {
        case .absolute: Self.stepSize(direction, learningRate)
        case .relative: learningRate * Self.stepSize(direction, .infinity)
        }
    }

    /// α = min(lr, 1/(‖W‖₁ + 1e-8)).
    static func stepSize(_ direction: Tensor, _ learningRate: Float) -> Float {
        let n = direction.columns
        var sums = [Double](repeating: 0, count: n)
        direction.withElements { elements in
            for first in stride(from: 0, to: elements.count, by: n) {
                for column in 0..<n { sums[column] += Double(abs(elements[first + column])) }
            }
        }
        return min(learningRate, Float(1 / ((sums.max() ?? 0) + epsilon)))
    }

    /// Y ← R − αG, then five times Y ← R − ½α(R + Y)·W.
    static func iterativeStep(_ rotation: Tensor, _ direction: Tensor, _ gradient: Tensor, _ size: Float) -> Tensor {
        var next = rotation.copy()
        next.add(gradient, scale: -size)
        for _ in 0..<iterations {
            let middle = rotation + next
            next = rotation.copy()
            matmul(middle, .asStored, direction, .asStored, alpha: -0.5 * size, beta: 1, into: &next)
        }
        return next
    }

    /// R with rows of unit length, orthonormalized when that is due.
    private func iterationStart(_ rotation: Tensor) throws(RotationError) -> Tensor {
        var unit = rotation.copy()
        let n = rotation.columns
        unit.withMutableElements { elements in
            for row in 0..<rotation.rows {
                let range = row * n..<(row + 1) * n
                let norm = elements[range].reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
                for i in range { elements[i] = Float(Double(elements[i]) / (norm + Self.epsilon)) }
            }
        }
        if orthonormalization.isDue(step: steps) { return try Self.orthonormalized(unit) }
        guard case .scheduled = orthonormalization, orthogonalityError(unit) > Self.driftLimit else { return unit }
        return try Self.orthonormalized(unit)
    }

    /// The orthonormal rows nearest to those of R, up to rounding.
    package static func orthonormalized(_ rotation: Tensor) throws(RotationError) -> Tensor {
        do { return try orthonormalizedRows(rotation) } catch { throw .linearAlgebra(error) }
    }
}

/// The skew part S = ½(M − Mᵀ) of an n×n matrix as its n(n−1)/2 entries above the diagonal, row by row. Ranks exchange it in
/// this form.
package enum SkewMatrix {
    /// n·(n − 1)/2: the entries above the diagonal.
    package static func packedCount(order n: Int) -> Int { n * (n - 1) / 2 }

    /// S_ij for i < j.
    package static func pack(_ matrix: Tensor) -> Tensor {
        let n = matrix.columns
        precondition(matrix.rows == n, "skew part of \(matrix.shape)")
        let transposed = matrix.transposed()
        var packed = Tensor(uninitialized: [packedCount(order: n)])
        let (upper, lower) = (matrix.pointer, transposed.pointer)
        let target = packed.mutablePointer
        var next = 0
        for i in 0..<n {
            for index in i * n + i + 1..<i * n + n {
                target[next] = 0.5 * (upper[index] - lower[index])
                next += 1
            }
        }
        return packed
    }

    /// S in full, `[n, n]`.
    package static func unpack(_ packed: Tensor, order n: Int) -> Tensor {
        precondition(packed.count == packedCount(order: n), "\(packed.count) entries of a skew matrix of order \(n)")
        var upper = Tensor(zeros: [n, n])
        let (source, target) = (packed.pointer, upper.mutablePointer)
        var next = 0
        for i in 0..<n {
            (target + i * n + i + 1).update(from: source + next, count: n - i - 1)
            next += n - i - 1
        }
        return upper - upper.transposed()
    }
}

/// max|RRᵀ − I|, for square R the same as max|RᵀR − I| up to rounding.
///
/// - Parameter rows: the rows of RRᵀ that are compared; nil for all.
package func orthogonalityError(_ rotation: Tensor, rows: Range<Int>? = nil) -> Float {
    let rows = rows ?? 0..<rotation.rows
    guard !rows.isEmpty else { return 0 }
    var product = Tensor(zeros: [rows.count, rotation.rows])
    let target = product.mutablePointer
    for (place, row) in rows.enumerated() { target[place * rotation.rows + row] = 1 }
    matmul(rotation.rows(rows), .asStored, rotation, .transposed, beta: -1, into: &product)
    return product.maxMagnitude
}
