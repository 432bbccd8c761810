import HuggingFace
import LinearAlgebra
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

/// The golden decompositions: exact up to the column where the reference's own reruns part, statistical beyond.
@Suite struct ReferenceModeTests {
    @Test(arguments: GoldenSuite.cases(group: "tsvd").filter { $0.params["kind"] != nil })
    func `reference mode repeats the recorded decompositions`(golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let options = try options(of: golden)
        let matrices = try batch(file.readFloat("A"))
        let results = try TernaryDecomposition.batch(matrices, options, name: golden.id)
        let (count, k) = (matrices.shape[0], results[0].componentCount)
        let u = try file.readFloat("u"), v = try file.readFloat("v")
        let recordedRank = v.shape[v.shape.count - 2]

        let rankTolerance = try #require(golden.tolerance["rank_abs"]?.integer)
        #expect(abs(k - recordedRank) <= rankTolerance, "rank \(k), recorded \(recordedRank)")
        let prefix = try min(#require(golden.tolerance["exact_prefix_columns"]?.integer), k)
        for b in 0..<count {
            let recordedU = u.reshaped([count * matrices.shape[1], recordedRank])
                .rows(b * matrices.shape[1]..<(b + 1) * matrices.shape[1]).transposed()
            let recordedV = v.reshaped([count * recordedRank, matrices.shape[2]])
                .rows(b * recordedRank..<(b + 1) * recordedRank)
            let ownU = results[b].u.transposed()
            let differing = (0..<prefix).first { j in
                !agree(ownU, recordedU, results[b].v, recordedV, component: j)
            }
            #expect(differing == nil, "matrix \(b): component \(differing ?? 0) differs before \(prefix)")
        }

        let error = try #require(results.map(\.relativeError).max())
        let recordedError = try #require(golden.expected["error"]?.number)
        let errorTolerance = try #require(golden.tolerance["error_rel"]?.number)
        #expect(error < options.tolerance)
        #expect(abs(Double(error) - recordedError) <= errorTolerance * recordedError)
        let sparsity = results.map { Double($0.sparsity) }.reduce(0, +) / Double(count)
        let sparsityTolerance = try #require(golden.tolerance["sparsity_abs"]?.number)
        #expect(abs(sparsity - (try #require(golden.expected["sparsity"]?.number))) <= sparsityTolerance)
    }

    @Test(arguments: GoldenSuite.cases(group: "tsvd").filter { $0.id.contains("best_s") })
    func `least squares for the scales meets the reference's`(golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let a = try file.readFloat("A"), u = try file.readFloat("u"), v = try file.readFloat("v")
        let (count, m, n, k) = (a.shape[0], a.shape[1], a.shape[2], u.shape[2])
        var solvers: [ScaleSolver] = []
        for b in 0..<count {
            var solver = ScaleSolver(a.reshaped([count * m, n]).rows(b * m..<(b + 1) * m))
            solver.update(
                Components(
                    u: u.reshaped([count * m, k]).rows(b * m..<(b + 1) * m), s: Tensor(zeros: [k]),
                    v: v.reshaped([count * k, n]).rows(b * k..<(b + 1) * k)), from: 0)
            solvers.append(solver)
        }
        let squares = solvers.map { $0.kernelSquares() }.reduce(0, +) / Double(count)
        let s = try solvers.flatMap { try $0.exactSolution(sharedSquares: squares) }
        let expected = try file.readFloat("s_float64").elements
        let largest = try #require(expected.map(abs).max())
        #expect(s.count == expected.count)
        for (own, other) in zip(s, expected) { #expect(abs(own - other) <= 1e-6 * largest) }
    }

    @Test(arguments: GoldenSuite.cases(group: "tsvd").filter { $0.id.contains("stall") })
    func `a stalled loop ends with a word about it`(golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        var options = try options(of: golden)
        let a = try file.readFloat("A")
        #expect { try TernaryDecomposition(a, options, name: "layer") } throws: { error in
            (error as? TernaryError)?.kind == .stalled && "\(error)".contains("layer: the residual stalls")
        }
        // Coordinate descent finds a way on.
        options.mode = .default
        #expect(try TernaryDecomposition(a, options, name: "layer").relativeError < options.tolerance)
    }

    private func batch(_ a: Tensor) -> Tensor { a.shape.count == 2 ? a.reshaped([1] + a.shape) : a }

    private func options(of golden: GoldenCase) throws -> TernaryOptions {
        var options = TernaryOptions(tolerance: 0.05, mode: .reference)
        options.tolerance = try Float(#require(golden.params["tolerance"]?.number))
        options.threshold = try Float(#require(golden.params["cos_thresh"]?.number))
        options.rounds = golden.params["steps"]?.integer ?? 20
        return options
    }

    /// Equal, or both vectors negated.
    private func agree(_ u: Tensor, _ otherU: Tensor, _ v: Tensor, _ otherV: Tensor, component j: Int) -> Bool {
        let own = (u.rows(j..<j + 1).elements, v.rows(j..<j + 1).elements)
        let other = (otherU.rows(j..<j + 1).elements, otherV.rows(j..<j + 1).elements)
        return own == other || (own.0 == other.0.map { -$0 } && own.1 == other.1.map { -$0 })
    }
}
