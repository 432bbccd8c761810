import Glibc
import LinearAlgebra
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct DefaultModeTests {
    /// Matrices of the kinds the targets name, small enough for the reference mode to run beside.
    private static let kinds = ["gauss", "gamma", "lowrank"]

    private func matrix(_ kind: String, _ m: Int = 96, _ n: Int = 128) -> Tensor {
        var random = RandomStream(seed: 11)
        switch kind {
        case "gamma":
            // Exponential magnitudes of random sign: Gamma with shape 1.
            return Tensor(
                (0..<m * n).map { _ in
                    let magnitude = Float(-log(1 - random.uniform()))
                    return random.uniform() < 0.5 ? -magnitude : magnitude
                }, [m, n])
        case "lowrank":
            var result = Tensor(normal: [m, n], deviation: 0.1, from: &random)
            let left = Tensor(normal: [m, 8], from: &random), right = Tensor(normal: [8, n], from: &random)
            result.add(matmul(left, .asStored, right))
            return result
        default: return Tensor(normal: [m, n], from: &random)
        }
    }

    @Test(arguments: kinds, [0.1, 0.05, 0.01] as [Float])
    func `the default mode needs 0.7 of the reference's additions and 0.9 of its rank`(kind: String, tolerance: Float) throws {
        let w = matrix(kind)
        let own = try TernaryDecomposition(w, TernaryOptions.unbalanced(tolerance))
        let reference = try TernaryDecomposition(w, TernaryOptions(tolerance: tolerance, mode: .reference))
        #expect(Float(own.nonzeros) <= 0.7 * Float(reference.nonzeros))
        #expect(Float(own.componentCount) <= 0.9 * Float(reference.componentCount))
        // The residual, formed anew from the result.
        let error = try (w - own.reconstruction()).spectralNorm() / w.spectralNorm()
        #expect(own.relativeError < tolerance)
        #expect(abs(error - own.relativeError) < 1e-5)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `few components that stand out from noise are nearly a third fewer than the reference's`(seed: UInt64) throws {
        // Rank 16 and noise of a tenth of its size: most of the squared error is noise that the tolerance does not ask for.
        var random = RandomStream(seed: seed)
        let left = Tensor(normal: [128, 16], deviation: 0.25, from: &random)
        let right = Tensor(normal: [16, 128], from: &random)
        var w = Tensor(normal: [128, 128], deviation: 0.1, from: &random)
        w.add(matmul(left, .asStored, right))
        let own = try TernaryDecomposition(w, TernaryOptions.unbalanced(0.1))
        let reference = try TernaryDecomposition(w, TernaryOptions(tolerance: 0.1, mode: .reference))
        // Measured 0.58 to 0.64; by the sum of squares alone, every direction counting the same, 0.72 to 0.73.
        #expect(Float(own.componentCount) <= 0.69 * Float(reference.componentCount))
        #expect(Float(own.nonzeros) <= 0.69 * Float(reference.nonzeros))
        #expect(own.relativeError < 0.1)
    }

    @Test func `the published mode neither balances nor refines, and drops at the published rate`() throws {
        let w = matrix("gauss")
        let published = try TernaryDecomposition(w, .unbalanced(0.3, mode: .reference))
        let same = try TernaryDecomposition(w, TernaryOptions(tolerance: 0.3, mode: .reference))
        #expect(same.balance == nil && same.u.elements == published.u.elements && same.s.elements == published.s.elements)
        #expect(try TernaryDecomposition(w, TernaryOptions(tolerance: 0.3)).balance != nil)
        let rates = try TernaryOptions.Mode.allCases.map { try LayerTransition(.unbalanced(0.3, mode: $0)).pruneRate }
        #expect(rates == [0, Float(LayerTransition.publishedPruneRate)])
    }

    @Test(arguments: [true, false]) func `a matrix that is balanced already is decomposed with the same aim`(_ balance: Bool) {
        var options = TernaryOptions(tolerance: 0.1)
        options.balance = balance
        #expect(options.economizes == !balance)
        #expect(options.scaledAlready.economizes == !balance && !options.scaledAlready.balances)
    }

    @Test func `without refinement the default mode stays close to the reference`() throws {
        let w = matrix("gauss")
        var options = TernaryOptions.unbalanced(0.05)
        options.refinement = false
        let plain = try TernaryDecomposition(w, options)
        options.mode = .reference
        let reference = try TernaryDecomposition(w, options)
        // Leading subspaces by two iterations instead of a full SVD: a few components more.
        #expect(Float(plain.componentCount) <= 1.15 * Float(reference.componentCount))
        #expect(plain.relativeError < 0.05)
    }

    @Test func `balancing lets large rows cost nothing`() throws {
        let w = matrix("gauss", 64, 64)
        var scaled = w
        for j in 0..<64 { scaled[3, j] *= 100 }
        var options = TernaryOptions(tolerance: 0.1)
        options.economy = true
        let plain = try TernaryDecomposition(w, options)
        let outlier = try TernaryDecomposition(scaled, options)
        #expect(abs(plain.componentCount - outlier.componentCount) <= plain.componentCount / 10)
        let balance = try #require(outlier.balance)
        // A hundred times the row, a hundred times its scale, but for what differs between the rows.
        #expect(balance.a[3] > 50 * balance.a[2])
        let difference = scaled - outlier.reconstruction()
        // The tolerance holds for the balanced matrix: undone, no row is off by more than it allows times its scale.
        let row = difference.rows(2..<3).squaredNorm.squareRoot()
        #expect(row < 0.2 * scaled.rows(2..<3).squaredNorm.squareRoot())
    }

    @Test func `a warm start needs no more components than it is given where these suffice`() throws {
        let w = matrix("gauss", 48, 64)
        let options = TernaryOptions.unbalanced(0.1)
        let first = try TernaryDecomposition(w, options)
        let again = try TernaryDecomposition(w, options, start: (first.u, first.v))
        #expect(again.relativeError < 0.1)
        #expect(again.componentCount > 0 && again.componentCount <= first.componentCount)
        // Without one of them they do not suffice, and others are found.
        let fewer = first.componentCount / 2
        let (u, v) = (first.u.transposed().rows(0..<fewer).transposed(), first.v.rows(0..<fewer))
        let grown = try TernaryDecomposition(w, options, start: (u, v))
        #expect(grown.relativeError < 0.1)
        #expect(grown.componentCount > fewer)
    }

    @Test func `the same seed gives the same bits`() throws {
        let w = matrix("gamma", 40, 50)
        let (one, two) = try (
            TernaryDecomposition(w, TernaryOptions.unbalanced(0.05)), TernaryDecomposition(w, TernaryOptions.unbalanced(0.05))
        )
        #expect(one.u.elements == two.u.elements && one.v.elements == two.v.elements && one.s.elements == two.s.elements)
    }

    @Test(arguments: TernaryOptions.Mode.allCases)
    func `a tall matrix, a zero matrix and extreme scales are decomposed`(mode: TernaryOptions.Mode) throws {
        let w = matrix("gauss", 24, 40)
        let options = TernaryOptions.unbalanced(0.1, mode: mode)
        let wide = try TernaryDecomposition(w, options)
        let tall = try TernaryDecomposition(w.transposed(), options)
        #expect(tall.u.elements == wide.v.transposed().elements)
        #expect(try TernaryDecomposition(Tensor(zeros: [8, 8]), options).componentCount == 0)
        for scale: Float in [1e-36, 1e36] {
            var scaled = w
            scaled.scale(by: scale)
            #expect(try TernaryDecomposition(scaled, options).relativeError < 0.1)
        }
    }

    @Test func `bad settings and bad weights are refused with a line and a code`() throws {
        let w = Tensor(repeating: 1, [4, 4])
        for tolerance: Float in [0, 1, -0.1, 2, .nan] {
            #expect { try TernaryDecomposition(w, TernaryOptions.unbalanced(tolerance)) } throws: {
                ($0 as? any ReportableError)?.exitCode == .configuration && "\($0)".contains("ternary.tolerance")
            }
        }
        for threshold: Float in [0, 1.01, -1, .nan] {
            var options = TernaryOptions.unbalanced(0.05)
            options.threshold = threshold
            #expect { try TernaryDecomposition(w, options) } throws: {
                ($0 as? any ReportableError)?.exitCode == .configuration && "\($0)".contains("ternary.threshold")
            }
        }
        var bad = w
        bad[2, 2] = .nan
        #expect { try TernaryDecomposition(bad, TernaryOptions.unbalanced(0.05), name: "layers.3") } throws: {
            ($0 as? any ReportableError)?.exitCode == .data && "\($0)".contains("layers.3")
        }
    }
}
