import HuggingFace
import LinearAlgebra
import Support
import TensorCore
import TestSupport
import Testing

@testable import Rotation

@Suite struct CayleyTests {
    @Test func `a thousand exact steps keep R orthogonal within 1e-5`() throws {
        var random = RandomStream(seed: 21)
        for n in [16, 64] {
            var rotation = HadamardTransform(columns: n).randomized(from: &random)
            var optimizer = CayleySGD()
            for _ in 0..<1000 {
                let skew = SkewMatrix.pack(Tensor(normal: [n, n], from: &random))
                try optimizer.step(&rotation, skew: skew, learningRate: 1.5)
            }
            #expect(optimizer.steps == 1000)
            #expect(orthogonalityError(rotation) < 1e-5)
        }
    }

    @Test func `a step goes down: to first order by α·⟨S, S⟩`() throws {
        var random = RandomStream(seed: 22)
        let n = 12
        let start = HadamardTransform(columns: n).randomized(from: &random)
        let slope = Tensor(normal: [n, n], from: &random)
        // The loss ⟨slope, R⟩ has G = slope and M = RᵀG.
        func loss(_ r: Tensor) -> Double { zip(r.elements, slope.elements).reduce(0.0) { $0 + Double($1.0) * Double($1.1) } }
        let skew = SkewMatrix.pack(matmul(start, .transposed, slope, .asStored))
        var rotation = start
        var optimizer = CayleySGD()
        try optimizer.step(&rotation, skew: skew, learningRate: 1e-3)
        let expected = -1e-3 * 2 * skew.squaredNorm
        // The second-order term is smaller by about α·‖S‖.
        #expect(abs(loss(rotation) - loss(start) - expected) < 0.02 * abs(expected))
    }

    @Test(arguments: [0, 0.9] as [Float]) func `gradient and packed skew part give the same exact steps`(momentum: Float) throws
    {
        var random = RandomStream(seed: 23)
        let n = 20
        var a = HadamardTransform(columns: n).randomized(from: &random)
        var b = a
        var (first, second) = (CayleySGD(momentum: momentum), CayleySGD(momentum: momentum))
        for _ in 0..<5 {
            let product = Tensor(normal: [n, n], from: &random)
            try first.step(&a, skew: SkewMatrix.pack(product), learningRate: 0.05)
            try second.step(&b, gradient: matmul(b, .asStored, product, .asStored), learningRate: 0.05)
        }
        // Five steps of float32 products of order 1.
        #expect(maxDifference(a, b) < 5e-6)
    }

    @Test func `packing keeps the skew part and nothing else`() {
        var random = RandomStream(seed: 24)
        let matrix = Tensor(normal: [7, 7], from: &random)
        let skew = SkewMatrix.unpack(SkewMatrix.pack(matrix), order: 7)
        for i in 0..<7 {
            for j in 0..<7 { #expect(skew[i, j] == 0.5 * (matrix[i, j] - matrix[j, i])) }
        }
        #expect(SkewMatrix.pack(Tensor(zeros: [1, 1])).count == 0)
    }

    @Test func `a gradient that is not finite changes nothing and says so`() {
        var rotation = Tensor(identity: 4)
        var optimizer = CayleySGD(momentum: 0.9)
        let gradient = Tensor([0, .nan, 0, 0, 0, 0], [6])
        #expect(throws: RotationError.gradientNotFinite(step: 0)) {
            try optimizer.step(&rotation, skew: gradient, learningRate: 1)
        }
        #expect(rotation.elements == Tensor(identity: 4).elements && optimizer.steps == 0)
    }

    @Test func `orthonormalization is due at one step in a hundred, the same ones for the same seed`() {
        let schedule = CayleySGD.Orthonormalization.scheduled(seed: 5)
        let due = (0..<10_000).filter { schedule.isDue(step: $0) }
        // 99 expected, standard deviation 10.
        #expect(due.count > 50 && due.count < 150)
        #expect(due == (0..<10_000).filter { CayleySGD.Orthonormalization.scheduled(seed: 5).isDue(step: $0) })
    }

    @Test(arguments: [1.5, 1e6] as [Float])
    func `what the iterative form leaves is orthonormal to rounding once orthonormalized, and hardly another rotation`(
        _ rate: Float
    )
        throws
    {
        var random = RandomStream(seed: 11)
        var rotation = try CayleySGD.orthonormalized(Tensor(normal: [24, 24], deviation: 1, from: &random))
        var optimizer = CayleySGD(retraction: .iterative)
        for _ in 0..<40 {
            try optimizer.step(
                &rotation, gradient: Tensor(normal: [24, 24], deviation: 1, from: &random), learningRate: rate)
        }
        let orthonormal = try CayleySGD.orthonormalized(rotation)
        #expect(orthogonalityError(rotation) > 1e-5 && orthogonalityError(orthonormal) < 1e-6)
        #expect(maxDifference(orthonormal, rotation) < 1e-3)
    }

    @Test func `a rotation that has drifted beyond the limit is made orthonormal before the step, due or not`() throws {
        var random = RandomStream(seed: 12)
        let start = try CayleySGD.orthonormalized(Tensor(normal: [24, 24], deviation: 1, from: &random))
        var drifted = start
        drifted.add(Tensor(normal: [24, 24], deviation: 0.01, from: &random))
        let gradient = Tensor(normal: [24, 24], deviation: 1e-3, from: &random)
        let seed = try #require(
            (0..<1000 as Range<UInt64>).first { !CayleySGD.Orthonormalization.scheduled(seed: $0).isDue(step: 0) })
        func error(_ orthonormalization: CayleySGD.Orthonormalization) throws -> Float {
            var (rotation, optimizer) = (drifted, CayleySGD(retraction: .iterative, orthonormalization: orthonormalization))
            try optimizer.step(&rotation, gradient: gradient, learningRate: 1)
            return orthogonalityError(rotation)
        }
        #expect(try error(.scheduled(seed: seed)) < 1e-4 && error(.never) > 1e-2)
    }
}

@Suite struct CayleyGoldenTests {
    /// The reference never stores its momentum, so its plain tensors are those of momentum 0; `fixed_` ones store it.
    @Test(arguments: GoldenSuite.cases(group: "cayley"))
    func `the iterative form reproduces the reference step by step`(golden: GoldenCase) throws {
        let tensors = try GoldenSuite.tensors(of: golden)
        let steps = try #require(golden.params["steps"]?.integer)
        let early = Float(try #require(golden.tolerance["R_step1_abs"]?.number))
        let late = Float(try #require(golden.tolerance["R_step10_abs"]?.number))
        let start = try tensors.readFloat("R0"), all = try tensors.readFloat("grads")
        let gradients = (0..<steps).map { step in
            all.rows(step * start.rows..<(step + 1) * start.rows).reshaped(start.shape)
        }
        let runs = Set(tensors.tensors.keys.compactMap { name in name.firstMatch(of: /^(.*)\.R_step/).map { String($0.1) } })
        #expect(!runs.isEmpty)
        for run in runs.sorted() {
            let (momentum, rate, isOrthonormalized) = try Self.settings(of: run)
            let isStored = run.hasPrefix("fixed_")
            var rotation = start
            var optimizer = CayleySGD(
                retraction: .iterative, momentum: isStored ? momentum : 0,
                orthonormalization: isOrthonormalized ? .always : .never)
            for step in 1...steps {
                try optimizer.step(&rotation, gradient: gradients[step - 1], learningRate: rate)
                guard tensors.tensors["\(run).R_step\(step)"] != nil else { continue }
                let expected = try tensors.readFloat("\(run).R_step\(step)")
                #expect(maxDifference(rotation, expected) <= (step <= 2 ? early : late), "\(run), step \(step)")
            }
            guard isStored else { continue }
            guard let buffer = optimizer.momentumBuffer else {
                #expect(momentum == 0, "\(run) has no momentum")
                continue
            }
            // The reference stores W·Rᵀ = −(R·W)ᵀ. float32 products of ten steps: 1e-4 of its size.
            let expected = try tensors.readFloat("\(run).momentum_buffer")
            #expect(relativeError(buffer.transposed(), Tensor(zeros: expected.shape) - expected) < 1e-4, "\(run)")
        }
    }

    /// `mom0.9.lr1.5.qr0` → (0.9, 1.5, false).
    static func settings(of run: String) throws -> (Float, Float, Bool) {
        let match = try #require(run.firstMatch(of: /mom([0-9.]+)\.lr([0-9.]+)\.qr([01])/))
        return (try #require(Float(match.1)), try #require(Float(match.2)), match.3 == "1")
    }

    /// The fixed-point iteration converges to the exact step; at small α five iterations reach it.
    @Test func `the exact form agrees with the reference where the step is small`() throws {
        let name = "mom0.lr0.01.qr0.R_step1"
        let files = try GoldenSuite.cases(group: "cayley").map(GoldenSuite.tensors).filter { $0.tensors[name] != nil }
        #expect(!files.isEmpty || !GoldenSuite.isOwn)
        for tensors in files {
            var rotation = try tensors.readFloat("R0")
            let gradient = try tensors.readFloat("grads").rows(0..<rotation.rows).reshaped(rotation.shape)
            var optimizer = CayleySGD()
            try optimizer.step(&rotation, gradient: gradient, learningRate: 0.01)
            // R0 itself is orthogonal to about 1e-6.
            #expect(maxDifference(rotation, try tensors.readFloat(name)) < 5e-6)
        }
    }
}
