import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct OperationCountTests {
    /// Layers are told apart by the text between "tsvd." and "u", and stand in the order of the recorded nodes; positions come
    /// from these, non-zeros from the tensors.
    @Test(arguments: GoldenSuite.cases(group: "opcount"))
    func `operations are counted as recorded`(golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let layers = golden.tensors.filter { $0.hasPrefix("tsvd.") && $0.hasSuffix("u") }.map { $0.dropFirst(5).dropLast(1) }
        func nodes(_ key: String) throws -> [(ternary: Bool, name: String, mul: Int, add: Int)] {
            try #require(golden.expected[key]?.array).map {
                try (
                    ($0["ternary"]?.bool == true), #require($0["op"]?.string), #require($0["mul"]?.integer),
                    #require($0["add"]?.integer)
                )
            }
        }
        var dense = OperationCount()
        var weights = try layers.map { try file.info("dense.\($0)weight").count }[...]
        for node in try nodes("dense_nodes") {
            if node.ternary, let weight = weights.popFirst() {
                #expect(node.mul % weight == 0)
                dense = dense + .dense(weights: weight, positions: node.mul / weight)
            } else {
                dense = dense + OperationCount(multiplications: node.mul, additions: node.add)
            }
        }
        #expect(dense.multiplications == golden.expected["dense_mul"]?.integer)
        #expect(dense.additions == golden.expected["dense_add"]?.integer)

        var ternary = OperationCount()
        var factors = try layers.map { try (u: file.readFloat("tsvd.\($0)u"), v: file.readFloat("tsvd.\($0)v")) }[...]
        let recorded = try nodes("tsvd_nodes_before_density_scaling")
        for (index, node) in recorded.enumerated() {
            if node.name == "aten::mul_", let layer = factors.popFirst() {
                let rank = layer.v.shape[0]
                ternary =
                    ternary
                    + .ternary(
                        componentCount: rank, nonzerosU: layer.u.nonzeroCount,
                        positionsU: recorded[index + 1].mul / layer.u.count,
                        nonzerosV: layer.v.nonzeroCount, positionsV: node.mul / rank)
            } else if !node.ternary {
                ternary = ternary + OperationCount(multiplications: node.mul, additions: node.add)
            }
        }
        let tolerance = try #require(golden.tolerance["tsvd_abs"]?.integer)
        #expect(try abs(ternary.multiplications - #require(golden.expected["tsvd_mul"]?.integer)) <= tolerance)
        #expect(try abs(ternary.additions - #require(golden.expected["tsvd_add"]?.integer)) <= tolerance)
    }

    @Test(arguments: GoldenSuite.cases(group: "tsvd").filter { $0.expected["critical_rank"] != nil })
    func `break-even components are the recorded critical ranks`(golden: GoldenCase) throws {
        let a = try GoldenSuite.tensors(of: golden).readFloat("A")
        let m = a.shape[a.shape.count - 2], n = a.columns
        let own = try BreakEven.components(
            weight: a, sparsity: Float(#require(golden.expected["sparsity"]?.number)), rows: m, columns: n,
            bits: #require(golden.params["bits"]?.integer))
        let expected = try #require(golden.expected["critical_rank"]?.number)
        // The reference divides in float32.
        #expect(abs(own - expected) <= 1e-5 * expected)
    }

    @Test func `a ternary linear layer counts one multiplication a component and one addition a non-zero`() {
        let t = PackedTernary(Tensor([1, 0, -1, 0, 0, 1], [2, 3]))
        let factors = TernaryFactors(u: PackedTernary(Tensor([1, -1], [1, 2])), s: [1, 2], v: t, tolerance: 0.1)
        #expect(OperationCount.ternary(factors, tokens: 10) == OperationCount(multiplications: 20, additions: 50))
        #expect(OperationCount.linear([4, 3], tokens: 5) == OperationCount(multiplications: 60, additions: 60))
    }
}
