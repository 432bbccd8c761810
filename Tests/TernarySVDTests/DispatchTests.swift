import Support
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct DispatchTests {
    @Test func `layers are dealt as recorded`() throws {
        let cases = try #require(InputFile.json(GoldenSuite.path("dispatch/greedy.json")).array)
        #expect(!cases.isEmpty)
        for golden in cases {
            let sizes = try #require(golden["sizes"]?.integers), owners = try #require(golden["owner"]?.integers)
            let ranks = try #require(golden["world_size"]?.integer)
            #expect(GreedyDispatch.owners(sizes: sizes, ranks: ranks) == owners)
        }
    }
}
