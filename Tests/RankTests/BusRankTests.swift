import BusTestSupport
import Collectives
import Support
import Testing
import TransitionBus

extension RankTests {
    @Suite(.serialized) struct BusTests {
        let world = RankWorld.shared

        @Test func `ten thousand damaged transitions reach all ranks, each applied once`() throws {
            let drill = BusDrill(layers: 100, steps: 100, transport: .auto, faults: 0.05)
            let outcome = try drill.run(world)
            #expect(outcome.applied == 10_000)
            #expect(try world.allGather(outcome.digest).allSatisfy { $0 == outcome.digest })
        }

        @Test func `ipc, tcp and MPI's broadcast end in the same state`() throws {
            var digests: Set<Digest> = []
            for transport in [BusTransport.mpi, .ipc, .tcp] {
                digests.insert(try BusDrill(layers: 20, steps: 10, payloadBytes: 5000, transport: transport).run(world).digest)
            }
            #expect(digests.count == 1)
        }

        @Test(arguments: [BusTransport.ipc, .tcp])
        func `through relays damaged transitions reach all ranks, each applied once`(transport: BusTransport) throws {
            var drill = BusDrill(layers: 20, steps: 20, transport: transport, faults: 0.05)
            (drill.topology, drill.ranksPerRelay) = (.relay, 2)
            let outcome = try drill.run(world)
            #expect(outcome.applied == 400)
            #expect(try world.allGather(outcome.digest).allSatisfy { $0 == outcome.digest })
        }
    }
}
