import LinearAlgebra
import TensorCore
import TestSupport
import Testing

@testable import Rotation

/// What rows say of the rotation that turns them, without a network.
@Suite struct RowLossTests {
    static let losses: [RowLoss] = [
        .range(symmetric: false, includesZero: false), .range(symmetric: false, includesZero: true),
        .range(symmetric: true, includesZero: true), .whip, .kurtosis,
    ]

    /// Rows of which some entries are far larger than others, and some rows lie on one side of 0.
    private func rows(_ count: Int, _ n: Int, seed: UInt64) -> Tensor {
        var random = RandomStream(seed: seed)
        var rows = Tensor(normal: [count, n], from: &random)
        for row in 0..<count {
            rows[row, row % 3] *= 6
            if row % 4 == 0 { for j in 0..<n { rows[row, j] = abs(rows[row, j]) + 0.5 } }
        }
        return rows.normalizedRows()
    }

    @Test(arguments: losses) func `a loss's slope along any turn is that of finite differences`(_ loss: RowLoss) throws {
        let n = 24
        // e^−|y| has a kink at 0: so near that hardly an entry passes it.
        let step: Float = loss == .whip ? 1e-4 : 2e-3
        var random = RandomStream(seed: 61)
        let x = rows(16, n, seed: 62)
        let rotation = HadamardTransform(columns: n).randomized(from: &random)
        let gradient = RotationGradient(n: n)
        let value = loss.add(matmul(x, .asStored, rotation), to: gradient)
        #expect(loss.loss(matmul(x, .asStored, rotation)) == value)
        for _ in 0..<3 {
            let turn = SkewMatrix.pack(Tensor(normal: [n, n], deviation: 0.3, from: &random))
            // R·exp(εA) to third order, A the turn.
            func turned(_ size: Float) throws -> Double {
                let moved = try CayleyStep(start: rotation, direction: SkewMatrix.unpack(turn, order: n), size: -size)
                    .rows(0..<n)
                return loss.loss(matmul(x, .asStored, moved))
            }
            let measured = try (turned(step) - turned(-step)) / Double(2 * step)
            // ⟨A, M⟩ = ⟨A, S⟩, each entry above the diagonal twice.
            let expected = zip(turn.elements, gradient.skew.elements).reduce(0) { $0 + 2 * Double($1.0) * $1.1 }
            #expect(abs(measured - expected) <= 5e-3 * abs(expected) + 1e-3 * value)
        }
    }

    /// Such a matrix of float32 numbers would be 256 GiB.
    @Test(arguments: losses) func `a loss alone takes no matrix of the rotation's order`(_ loss: RowLoss) {
        #expect(loss.loss(Tensor(zeros: [1, 1 << 18])).isFinite)
    }

    /// Of 32 equal channels: width 2·√32 for one that holds all, at most 2 where a rotation spreads it.
    @Test func `the range of outliers falls, and R stays orthogonal`() throws {
        let n = 32
        var random = RandomStream(seed: 63)
        var x = Tensor(normal: [64, n], deviation: 0.2, from: &random)
        for row in 0..<64 { x[row, row % 4] += row % 8 < 4 ? 6 : -6 }
        x = x.normalizedRows()
        let loss = RowLoss.range(symmetric: true, includesZero: true)
        var rotation = Tensor(identity: n)
        var optimizer = CayleySGD(stepSize: .relative)
        let before = loss.loss(x)
        for _ in 0..<40 {
            let gradient = RotationGradient(n: n)
            _ = loss.add(matmul(x, .asStored, rotation), to: gradient)
            try optimizer.step(&rotation, skew: gradient.skew.rounded, learningRate: 1)
        }
        let after = loss.loss(matmul(x, .asStored, rotation))
        #expect(after < 0.2 * before)
        #expect(orthogonalityError(rotation) < 1e-5)
        func widest(_ y: Tensor) -> Float { y.maxMagnitude }
        #expect(widest(matmul(x, .asStored, rotation)) < 0.6 * widest(x))
    }

    /// The scale of a loss means nothing to a relative step.
    @Test func `a relative step is the same for a loss a thousand times as large`() throws {
        var random = RandomStream(seed: 64)
        let skew = SkewMatrix.pack(Tensor(normal: [8, 8], from: &random))
        var large = skew
        large.scale(by: 1024)
        var (a, b) = (Tensor(identity: 8), Tensor(identity: 8))
        var (first, second) = (CayleySGD(stepSize: .relative), CayleySGD(stepSize: .relative))
        try first.step(&a, skew: skew, learningRate: 0.5)
        try second.step(&b, skew: large, learningRate: 0.5)
        #expect(maxDifference(a, b) < 1e-6 && maxDifference(a, Tensor(identity: 8)) > 1e-2)
    }

    @Test func `rows of zeros say nothing`() {
        let zeros = Tensor(zeros: [3, 8]).normalizedRows()
        let gradient = RotationGradient(n: 8)
        for loss in Self.losses { #expect(loss.add(zeros, to: gradient).isFinite) }
        #expect(gradient.skew.elements.allSatisfy { $0 == 0 })
    }
}
