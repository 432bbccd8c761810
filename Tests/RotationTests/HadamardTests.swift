import Autograd
import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@testable import Rotation

@Suite struct HadamardTests {
    /// Factors of the hidden and intermediate sizes of common models.
    static let required = [12, 20, 28, 36, 40, 44, 52, 60, 108, 140, 156, 172]

    @Test func `every matrix that can be made up to 256 is a Hadamard matrix`() {
        var missing: [Int] = []
        for n in [1, 2] + Array(stride(from: 4, through: 256, by: 4)) {
            guard let matrix = HadamardMatrix(order: n) else {
                missing.append(n)
                continue
            }
            let wrong = (0..<n).contains { i in
                (0...i).contains { j in
                    let product = (0..<n).reduce(0) { $0 + matrix[i, $1] * matrix[j, $1] }
                    return product != (i == j ? n : 0)
                }
            }
            #expect(!wrong, "order \(n)")
        }
        // 4·47 and 4·59 need constructions of another kind.
        #expect(missing == [188, 236])
    }

    @Test(arguments: required) func `the required orders and their doubles exist`(order: Int) {
        for doubling in [1, 2, 4, 64] { #expect(HadamardOrder(order * doubling) != nil) }
    }

    @Test func `an order without a matrix falls back on the largest block that divides it`() {
        #expect(HadamardOrder(6) == nil && HadamardOrder(188) == nil && HadamardOrder(0) == nil)
        #expect(HadamardOrder.largestBlock(dividing: 6).order == 2)
        #expect(HadamardOrder.largestBlock(dividing: 324).order == 108)
        #expect(HadamardOrder.largestBlock(dividing: 188).order == 4)
        #expect(HadamardOrder.largestBlock(dividing: 7).order == 1)
        // In no more steps than the root: a prime that a hostile config.json may give as a width, and twice one.
        #expect(HadamardOrder.largestBlock(dividing: 2_147_483_647).order == 1)
        #expect(HadamardOrder.largestBlock(dividing: 2_147_483_646).order == 2)
        #expect(HadamardTransform(columns: 94).isBlockDiagonal)
    }

    @Test(arguments: [
        1, 2, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 65536, 131_072, 12, 36, 48, 96, 160, 172, 192, 344, 384,
        768,
        6, 94, 11008,
    ])
    func `the transform is its matrix, and undone by its inverse`(columns: Int) throws {
        let transform = HadamardTransform(columns: columns)
        var random = RandomStream(seed: UInt64(columns))
        let x = Tensor(normal: [3, columns], from: &random)
        var y = x
        transform.apply(&y)
        #expect(transform.applied(to: x).elements == y.elements)
        let (n, power) = (transform.block.order, transform.block.power)
        let factor = try #require(HadamardMatrix(order: transform.block.factor))
        // A few entries by their definition: H_ij = H_m[i / 2^a, j / 2^a]·(−1)^popcount(i mod 2^a & j mod 2^a).
        for _ in 0..<20 {
            let row = Int(random.next() % 3), column = Int(random.next() % UInt64(columns))
            let (start, i) = (column / n * n, column % n)
            let sum = (0..<n).reduce(0.0) { sum, j in
                let sign = factor[i / power, j / power] * ((i % power & j % power).nonzeroBitCount % 2 == 0 ? 1 : -1)
                return sum + Double(sign) * Double(x[row, start + j])
            }
            // Rounding of float32 sums whose result is of order 1.
            #expect(abs(Double(y[row, column]) - sum / Double(n).squareRoot()) < 1e-5)
        }
        let undone = transform.inverseApplied(to: y)
        transform.applyInverse(&y)
        #expect(undone.elements == y.elements)
        #expect(maxDifference(y, x) < 1e-5)
    }

    @Test func `random signs give an orthogonal matrix that depends on the seed alone`() {
        let transform = HadamardTransform(columns: 96)
        var (a, b, c) = (RandomStream(seed: 1), RandomStream(seed: 1), RandomStream(seed: 2))
        let matrix = transform.randomized(from: &a)
        #expect(orthogonalityError(matrix) < 1e-6)
        #expect(matrix.elements == transform.randomized(from: &b).elements)
        #expect(matrix.elements != transform.randomized(from: &c).elements)
    }

    @Test func `the derivative is the transpose`() throws {
        var random = RandomStream(seed: 12)
        let transform = HadamardTransform(columns: 24)
        let value = Tensor(normal: [5, 24], from: &random), upstream = Tensor(normal: [5, 24], from: &random)
        let direction = Tensor(normal: [5, 24], from: &random)
        let tape = Tape()
        let x = Variable(parameter: value)
        tape.backward(from: tape.hadamard(x, transform), gradient: upstream)
        let gradient = try #require(x.gradient)
        var image = direction
        transform.apply(&image)
        // The map is linear: ⟨upstream, H·d⟩ = ⟨gradient, d⟩, sums of 120 terms of order 1.
        let left = zip(upstream.elements, image.elements).reduce(0.0) { $0 + Double($1.0 * $1.1) }
        let right = zip(gradient.elements, direction.elements).reduce(0.0) { $0 + Double($1.0 * $1.1) }
        #expect(abs(left - right) < 1e-4)
    }
}

@Suite struct HadamardGoldenTests {
    private static func cases(_ key: String) -> [GoldenCase] {
        GoldenSuite.cases(group: "hadamard").filter { $0.params[key] != nil }
    }

    @Test(.enabled(if: GoldenSuite.isOwn), arguments: ["ns", "orders", "n"]) func `there are cases`(_ key: String) {
        #expect(!Self.cases(key).isEmpty)
    }

    @Test(arguments: cases("ns")) func `transforms agree with the reference`(golden: GoldenCase) throws {
        let tensors = try GoldenSuite.tensors(of: golden)
        let tolerance = Float(try #require(golden.tolerance["abs"]?.number))
        let sizes = try #require(golden.params["ns"]?.integers)
        #expect(!sizes.isEmpty)
        for n in sizes {
            let x = try tensors.readFloat("n\(n).x")
            let transform = HadamardTransform(columns: n)
            #expect(transform.block.factor == golden.params["K"]?["\(n)"]?.integer, "n = \(n)")
            var (forward, inverse) = (x, x)
            transform.apply(&forward)
            transform.applyInverse(&inverse)
            #expect(maxDifference(forward, try tensors.readFloat("n\(n).hadU")) <= tolerance, "n = \(n)")
            #expect(maxDifference(inverse, try tensors.readFloat("n\(n).hadUt")) <= tolerance, "n = \(n)")
        }
    }

    @Test(arguments: cases("orders")) func `matrices are the published ones`(golden: GoldenCase) throws {
        let tensors = try GoldenSuite.tensors(of: golden)
        let orders = try #require(golden.params["orders"]?.integers)
        #expect(!orders.isEmpty)
        for n in orders {
            let published = try tensors.readFloat("H\(n)")
            #expect(published.shape == [n, n])
            #expect(HadamardMatrix(order: n)?.elements.map(Float.init) == published.elements, "n = \(n)")
        }
    }

    @Test(arguments: cases("n")) func `random signs and a weight's inputs are transformed as in the reference`(
        golden: GoldenCase
    ) throws {
        let tensors = try GoldenSuite.tensors(of: golden)
        let tolerance = Float(try #require(golden.tolerance["abs"]?.number))
        let n = try #require(golden.params["n"]?.integer)
        let signs = try tensors.readFloat("signs").elements
        let expected = try tensors.readFloat("random_hadamard")
        #expect(maxDifference(HadamardTransform(columns: n).randomized(signs: signs), expected) <= tolerance)
        var weight = try tensors.readFloat("W")
        HadamardTransform(columns: weight.columns).apply(&weight)
        #expect(maxDifference(weight, try tensors.readFloat("W_full_had_input")) <= tolerance)
    }
}
