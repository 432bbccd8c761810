import Support
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct DispatchTests {
    @Test(arguments: GoldenSuite.cases(group: "dispatch")) func `layers are dealt as recorded`(golden: GoldenCase) throws {
        let cases = try #require(InputFile.json(GoldenSuite.path(golden.file)).array)
        #expect(!cases.isEmpty)
        for entry in cases {
            let sizes = try #require(entry["sizes"]?.integers), owners = try #require(entry["owner"]?.integers)
            let ranks = try #require(entry["world_size"]?.integer)
            #expect(GreedyDispatch.owners(sizes: sizes, ranks: ranks) == owners)
        }
    }

    @Test func `layers of a kind are dealt one after the other, whatever stands between them`() {
        // As stored, gate of every block would be one rank's.
        let names = (0..<4).flatMap { block in ["gate", "up"].map { "layers.\(block).mlp.\($0)" } }
        let layers = names.map { (name: $0, size: 100) } + [(name: "layers.0.o", size: 400), (name: "layers.1.o", size: 400)]
        let owners = GreedyDispatch.owners(layers: layers, ranks: 2)
        for kind in ["gate", "up"] {
            let own = zip(layers, owners).filter { $0.0.name.hasSuffix(kind) }.map(\.1)
            #expect(own.reduce(0, +) == 2, "\(kind): \(own)")
        }
        #expect(owners.suffix(2) == [0, 1])
    }
}
