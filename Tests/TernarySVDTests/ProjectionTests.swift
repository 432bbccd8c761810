import HuggingFace
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct ProjectionTests {
    @Test(arguments: GoldenSuite.cases(group: "tsvd").filter { $0.id.contains("policy") })
    func `projections are the reference's, entry by entry`(golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let a = try file.readFloat("a")
        let outputs = file.names.filter { $0.hasPrefix("out.cos_") }
        #expect(!outputs.isEmpty)
        for name in outputs {
            let threshold = try #require(Float(name.dropFirst("out.cos_".count)))
            let expected = try file.readFloat(name)
            #expect(TernaryProjection.ofUnitRows(a, threshold: threshold).elements == expected.elements, "\(name)")
        }
    }

    @Test func `equal magnitudes are kept or left together, and zeros give zeros`() {
        var projection = TernaryProjection(threshold: 0.8386)
        var out = [Float](repeating: 9, count: 1000)
        let equal = (0..<1000).map { Float($0 % 2 == 0 ? 1 : -1) }
        #expect(projection.project(equal, count: 1000, to: &out) == 1000)
        #expect(out == equal)
        #expect(projection.project([Float](repeating: 0, count: 1000), count: 1000, to: &out) == 0)
        #expect(out.allSatisfy { $0 == 0 })
        for value in [Float.nan, -.nan, .infinity] {
            var broken = equal
            broken[700] = value
            #expect(projection.project(broken, count: 1000, to: &out) == 0)
            #expect(out.allSatisfy { $0 == 0 })
        }
    }

    @Test func `the scan over buckets agrees with a full sort`() {
        var random = RandomStream(seed: 5)
        for n in [1, 2, 7, 64, 1001] {
            let a = (0..<n).map { _ in Float(random.normal() * random.normal() * random.normal()) }
            for threshold: Float in [0.2, 0.5, 0.8386, 0.95, 1] {
                var projection = TernaryProjection(threshold: threshold)
                var out = [Float](repeating: 0, count: n)
                projection.project(a, count: n, to: &out)
                #expect(out == sortedProjection(a, threshold))
            }
        }
    }

    /// The definition, with a sort.
    private func sortedProjection(_ a: [Float], _ threshold: Float) -> [Float] {
        let sorted = a.map(abs).sorted(by: >)
        let norm = a.map { Double($0) * Double($0) }.reduce(0, +).squareRoot()
        var (sum, best, least) = (0.0, -1.0, Float(0))
        for (j, value) in sorted.enumerated() {
            sum += Double(value)
            let score = sum / Double(j + 1).squareRoot()
            if score > best { (best, least) = (score, value) }
            if score >= Double(threshold) * norm { break }
        }
        return a.map { abs($0) >= least ? ($0 >= 0 ? 1 : -1) : 0 }
    }
}
