import BusTestSupport
import CZeroMQ
import Collectives
import Foundation
import Glibc
import Support
import Testing

@testable import TransitionBus

@Suite struct TopologyTests {
    private static func machines(_ count: Int, of ranks: Int) -> [Int] { (0..<count * ranks).map { $0 / ranks } }

    @Test func `few ranks connect to each other, many through a relay on each machine`() {
        let few = BusTopology(.auto, machines: Self.machines(2, of: 16))
        #expect(few.form == .direct && few.connections == 4 * 31)
        let many = BusTopology(.auto, machines: Self.machines(3, of: 11))
        #expect(many.form == .relay)
        #expect(many.groups == [Array(0..<11), Array(11..<22), Array(22..<33)])
        #expect((0..<33).map { many.groupByRank[$0] } == Self.machines(3, of: 11))
        #expect(
            BusTopology(.relay, machines: [0, 0]).form == .relay && BusTopology(.direct, machines: [0, 0]).form == .direct)
    }

    @Test func `a relay serves one machine's ranks, however they are numbered, and at most so many as it is given`() {
        let dealt = BusTopology(.relay, machines: [0, 1, 0, 1, 0, 1])
        #expect(dealt.groups == [[0, 2, 4], [1, 3, 5]])
        let halves = BusTopology(.relay, machines: [0, 0, 0, 0, 0, 1], ranksPerRelay: 2)
        #expect(halves.groups == [[0, 1], [2, 3], [4], [5]])
        #expect(halves.groupByRank == [0, 0, 1, 1, 2, 3])
    }

    /// The usual limit is 1024, of which MPI and the files of a run take their part.
    @Test func `1024 ranks as 16 nodes of 64 take few descriptors with relays, and thousands without`() {
        let machines = Self.machines(16, of: 64)
        let relays = BusTopology(.auto, machines: machines)
        #expect(relays.form == .relay && relays.groups.count == 16)
        let needs = machines.indices.map { relays.descriptors(of: $0) }
        // The rank that runs the relay: 64 ranks, 15 relays. The others: their own two connections.
        #expect(needs[0] == 265 && needs[64] == 265)
        #expect(needs[1] == 68 && needs.filter { $0 == 68 }.count == 1024 - 16)
        #expect(relays.connections(of: 0) == 2 + 2 * 64 + 2 * 15 && relays.connections(of: 1) == 2)
        #expect(BusTopology(.direct, machines: machines).descriptors(of: 0) > 6000)
    }

    @Test func `what a rank needs grows with the nodes and with the ranks of a node, not with their product`() {
        func most(_ nodes: Int, _ ranks: Int) -> Int {
            let topology = BusTopology(.relay, machines: Self.machines(nodes, of: ranks))
            return topology.descriptors(of: 0)
        }
        #expect(most(32, 64) - most(16, 64) == 3 * 16 + 4)
        #expect(most(16, 128) - most(16, 64) == 2 * 64 + 4)
    }

    @Test func `ranks that would run out of descriptors are told how many fit, and of relays where these help`() throws {
        func problem(_ machines: [Int], _ choice: BusTopology.Choice, _ limit: Int) -> BusError? {
            var settings = BusRoute.Settings()
            settings.topology = choice
            return BusRoute.descriptorProblem(settings, machines, open: 20, limit: limit)
        }
        let one = Self.machines(1, of: 200)
        #expect(problem(one, .auto, 1024) == nil)
        // The rank that runs the relay needs two for each of them.
        #expect(problem(one, .auto, 400) != nil)
        #expect(problem(Array(one.prefix(160)), .direct, 1024) == nil)
        let error = try #require(problem(one, .direct, 1024))
        guard case .tooFewDescriptors(200, let needed, 1024, let fitting, true) = error else { throw error }
        #expect(problem(one, .direct, needed) == nil && problem(one, .direct, needed - 1) != nil)
        #expect(problem(Array(one.prefix(fitting)), .direct, 1024) == nil)
        #expect(problem(Array(one.prefix(fitting + 1)), .direct, 1024) != nil)
        #expect(error.exitCode == .configuration)
        #expect(error.description.contains("ulimit -n \(needed)") && error.description.contains("bus.topology=relay"))
        #expect(try #require(problem(one, .auto, 40)).description.contains("bus.transport=mpi"))
    }
}

/// The bus through relays, between ranks that are threads of this process.
@Suite(.serialized) struct RelayTests {
    private static func drill(
        layers: Int, steps: Int, _ transport: BusTransport, perRelay: Int, payloadBytes: Int = 200
    ) -> BusDrill {
        var drill = BusDrill(layers: layers, steps: steps, payloadBytes: payloadBytes, transport: transport)
        (drill.topology, drill.ranksPerRelay) = (.relay, perRelay)
        return drill
    }

    /// One relay for all; two and one left over; a relay each.
    @Test(arguments: [BusTransport.ipc, .tcp], [5, 2, 1])
    func `through relays every rank gets what the broadcast gives`(transport: BusTransport, perRelay: Int) async throws {
        let drill = Self.drill(layers: 12, steps: 10, transport, perRelay: perRelay, payloadBytes: 3000)
        let expected = try drill.run(LoopbackCommunicator()).digest
        let outcomes = try await ThreadWorld.results(size: 5) { try drill.run($0) }
        #expect(outcomes.allSatisfy { $0.digest == expected && $0.applied == 120 })
        #expect(outcomes.allSatisfy { $0.statistics.refused == [:] && $0.statistics.requests == 0 })
        #expect(outcomes.reduce(0) { $0 + $1.statistics.replays } == 0)
    }

    @Test func `of transitions dropped, doubled, reordered and corrupted behind relays, each is applied once`() async throws {
        var drill = Self.drill(layers: 50, steps: 40, .ipc, perRelay: 2)
        drill.faults = 0.05
        let outcomes = try await ThreadWorld.results(size: 4) { [drill] in try drill.run($0) }
        #expect(outcomes.allSatisfy { $0.applied == 2000 && $0.digest == outcomes[0].digest })
        #expect(outcomes.reduce(0) { $0 + $1.statistics.replays } > 200)
    }

    @Test func `relays hold more bytes than the sockets do, so that nobody waits for a rank that does not read`() async throws {
        let drill = Self.drill(layers: 64, steps: 2, .ipc, perRelay: 2, payloadBytes: 400_000)
        let outcomes = try await ThreadWorld.results(size: 3) { world in
            let bus = try ZeroMQExchange(world, drill.configuration(rank: world.rank), MessagingContext())
            // Rank 2 reads nothing for a while, and the others publish all they have: every layer is theirs.
            try bus.beginStep(0, owners: (0..<64).map { $0 % 2 })
            let start = ContinuousClock.now
            for layer in 0..<64 where layer % 2 == world.rank { try bus.publish(drill.transition(step: 0, layer: layer)) }
            let seconds = (ContinuousClock.now - start) / .seconds(1)
            try world.barrier()
            let applied = try bus.collect().count
            try bus.finishStep(stateDigest: sha256([]))
            return (applied, seconds, bus.statistics)
        }
        #expect(outcomes.allSatisfy { $0.0 == 64 && $0.1 < 20 && $0.2.requests == 0 })
    }

    /// As where a machine is lost: its ranks hear nothing more, and nobody hears of them.
    @Test func `a relay that ends ends the run with a temporary failure on all ranks`() async throws {
        let drill = Self.drill(layers: 4, steps: 1, .ipc, perRelay: 2)
        let results = await ThreadWorld.run(size: 4) { world in
            var configuration = drill.configuration(rank: world.rank)
            configuration.timing.silence = .milliseconds(500)
            let bus = try ZeroMQExchange(world, configuration, MessagingContext())
            try world.barrier()
            if world.rank == 2 { (bus.links as? RelayedLinks)?.relay?.stop() }
            try world.barrier()
            try bus.beginStep(0, owners: [0, 1, 2, 3])
            try bus.publish(drill.transition(step: 0, layer: world.rank))
            _ = try bus.collect()
        }
        for result in results {
            #expect { try result.get() } throws: { ($0 as? any ReportableError)?.exitCode == .temporary }
        }
    }

    @Test func `what takes open files is counted right`() async {
        // In a process of its own: other tests open files beside this one.
        await #expect(processExitsWith: .success) {
            let drill = RelayTests.drill(layers: 2, steps: 1, .tcp, perRelay: 4)
            let before = try descriptors()
            let open = try await ThreadWorld.results(size: 12) { world in
                let bus = try ZeroMQExchange(world, drill.configuration(rank: world.rank), MessagingContext())
                try world.barrier()
                return try withExtendedLifetime(bus) { try descriptors() }
            }
            let topology = BusTopology(.relay, machines: [Int](repeating: 0, count: 12), ranksPerRelay: 4)
            let counted = (0..<12).reduce(0) { $0 + topology.descriptors(of: $1) }
            let taken = try #require(open.max()) - before
            // What is counted for libzmq itself is rather too much.
            #expect(taken <= counted && 3 * taken > counted, "\(taken) of \(counted)")
        }
    }

    // MARK: Unlisted peers

    /// A relay of group 0 of [[0, 1], [2]], that serves, and the keys of group 1's.
    private static func relay(encrypted: Bool) throws -> (relay: Relay, peer: CurveKeys?) {
        let topology = BusTopology(.relay, machines: [0, 0, 1])
        let keys: CurveKeys? = encrypted ? try .generate() : nil
        let peer: CurveKeys? = encrypted ? try .generate() : nil
        let run = UInt64.random(in: 0 ... .max)
        let relay = try Relay(
            rank: 0, run: run, topology, endpoint: encrypted ? "tcp://127.0.0.1:*" : Endpoints.local(run: run, "p0"),
            keys: keys,
            payloadLimits: [100])
        let other = PeerEndpoints(
            publicKey: peer?.publicKey ?? "", relay: encrypted ? "tcp://127.0.0.1:9" : Endpoints.local(run: run, "p1"))
        try relay.connect(to: [relay.endpoints, other])
        return (relay, peer)
    }

    private static func connect(
        _ context: ZeroMQContext, to endpoint: String, as name: String, _ keys: CurveKeys? = nil, serverKey: String = ""
    ) throws -> ZeroMQSocket {
        let socket = try ZeroMQSocket(context, .dealer, name: name)
        try socket.set(ZMQ_ROUTING_ID, name)
        if let keys { try socket.secureAsClient(keys, serverKey: serverKey) }
        try socket.connect(endpoint)
        return socket
    }

    private static func waitFor(_ condition: () throws -> Bool) rethrows -> Bool {
        let deadline = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < deadline {
            if try condition() { return true }
            usleep(2000)
        }
        return false
    }

    @Test func `a rank cannot send in another one's name, and a request reaches the rank it is for`() throws {
        let (relay, _) = try Self.relay(encrypted: false)
        try relay.start()
        defer { relay.stop() }
        let context = try ZeroMQContext()
        let (one, zero) = (
            try Self.connect(context, to: relay.endpoints.control, as: "r1"),
            try Self.connect(context, to: relay.endpoints.control, as: "r0")
        )
        // Each makes itself known by a request to itself.
        for (socket, rank) in [(zero, 0), (one, 1)] {
            _ = try socket.send([Envelope(.request, from: rank, to: rank).encoded, [7], []])
            #expect(try ZeroMQSocket.poll([socket], milliseconds: 20_000) == [true])
            #expect(try socket.receive()?.parts == [Envelope(.request, from: rank, to: rank).encoded, [7], []])
        }
        // Another rank's name; a rank of another relay's; a rank that does not exist; no envelope; a part too few.
        _ = try one.send([Envelope(.request, from: 0, to: 0).encoded, [1], []])
        _ = try one.send([Envelope(.frame, from: 2, to: 2).encoded, [2], []])
        _ = try one.send([Envelope(.request, from: 1, to: 3).encoded, [3], []])
        _ = try one.send([[1, 2, 3], [4], []])
        _ = try one.send([Envelope(.request, from: 1, to: 0).encoded, [5]])
        _ = try one.send([Envelope(.request, from: 1, to: 0).encoded, [6], [8]])
        #expect(try ZeroMQSocket.poll([zero], milliseconds: 20_000) == [true])
        #expect(try zero.receive()?.parts == [Envelope(.request, from: 1, to: 0).encoded, [6], [8]])
        #expect(try zero.receive() == nil)
        #expect(Self.waitFor { relay.dropped == 5 })
    }

    @Test func `a relay speaks for the ranks of its own group, and only where its key is listed`() throws {
        let (relay, peer) = try Self.relay(encrypted: true)
        #expect(try BusSetup.refusesUnlistedKeys(relay, keys: .generate(), within: .seconds(60)))
        try relay.start()
        defer { relay.stop() }
        let context = try ZeroMQContext()
        let subscriber = try ZeroMQSocket(context, .subscriber, name: "rank 0")
        try subscriber.set(ZMQ_SUBSCRIBE, "")
        try subscriber.connect(relay.endpoints.data)
        func knock(_ keys: CurveKeys?) throws -> ZeroMQSocket {
            try Self.connect(context, to: relay.endpoints.relay, as: "g1", keys, serverKey: relay.endpoints.publicKey)
        }
        let unlisted = [try knock(nil), try knock(.generate())]
        for peer in unlisted { _ = try peer.send([Envelope(.frame, from: 2, to: 2).encoded, [66], []]) }
        // The self-test's, and the one with a key; without one nobody gets as far as that.
        #expect(withExtendedLifetime(unlisted) { Self.waitFor { relay.refusedKeys >= 2 } })
        let listed = try knock(peer)
        // In the name of a rank that is not its own; then its own, again and again, since the subscription takes its time.
        _ = try listed.send([Envelope(.frame, from: 1, to: 1).encoded, [67], []])
        var received: [[UInt8]]?
        #expect(
            try Self.waitFor {
                _ = try listed.send([Envelope(.frame, from: 2, to: 2).encoded, [68], []])
                received = try subscriber.receive()?.parts
                return received != nil
            })
        #expect(received.map { Array($0[1...]) } == [Envelope(.frame, from: 2, to: 2).encoded, [68], []])
        #expect(relay.dropped == 1)
    }

    @Test func `any other envelope is refused`() {
        let bytes = Envelope(.answer, from: 70_000, to: 3).encoded
        #expect(Envelope(decoding: bytes) == Envelope(.answer, from: 70_000, to: 3))
        for length in 0..<9 { #expect(Envelope(decoding: Array(bytes.prefix(length))) == nil) }
        #expect(Envelope(decoding: bytes + [0]) == nil)
        #expect(Envelope(decoding: [0] + bytes[1...]) == nil && Envelope(decoding: [4] + bytes[1...]) == nil)
    }
}

/// Open files of this process.
private func descriptors() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
