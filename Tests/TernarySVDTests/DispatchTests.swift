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
}
