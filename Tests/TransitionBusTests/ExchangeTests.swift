import BusTestSupport
import CZeroMQ
import Collectives
import Foundation
import Glibc
import Support
import Synchronization
import TensorCore
import TestSupport
import Testing

@testable import TransitionBus

/// The bus between ranks that are threads of this process.
@Suite(.serialized) struct ExchangeTests {
    @Test func `of 10,000 transitions dropped, doubled, reordered and corrupted at 5 % each, each is applied once`()
        async throws
    {
        let drill = BusDrill(layers: 100, steps: 100, transport: .ipc, faults: 0.05)
        let outcomes = try await ThreadWorld.results(size: 4) { try drill.run($0) }
        #expect(outcomes.allSatisfy { $0.applied == 10_000 && $0.digest == outcomes[0].digest })
        // The faults did happen, and were repaired.
        #expect(outcomes.allSatisfy { $0.statistics.duplicates > 100 && $0.statistics.requests > 100 })
        #expect(outcomes.allSatisfy { ($0.statistics.refused[.wrongDigest] ?? 0) > 10 })
        #expect(outcomes.reduce(0) { $0 + $1.statistics.replays } > 1000)
    }

    @Test(arguments: [BusTransport.auto, .ipc, .tcp, .mpi])
    func `every transport gives what the broadcast gives`(transport: BusTransport) async throws {
        let drill = BusDrill(layers: 12, steps: 10, payloadBytes: 3000, transport: transport)
        var oracle = drill
        oracle.transport = .mpi
        let expected = try oracle.run(LoopbackCommunicator()).digest
        let outcomes = try await ThreadWorld.results(size: 3) { try drill.run($0) }
        #expect(outcomes.allSatisfy { $0.digest == expected && $0.applied == 120 })
        #expect(outcomes.reduce(0) { $0 + $1.statistics.transitionsPublished } == 120)
        #expect(outcomes.map(\.statistics.refused) == [[:], [:], [:]])
    }

    @Test(arguments: [BusTransport.ipc, .tcp])
    func `a rank that has ended is no intruder to those that have not`(transport: BusTransport) async throws {
        let drill = BusDrill(layers: 1, steps: 1, transport: transport)
        let seen = try await ThreadWorld.results(size: 2) { world in
            let sockets = try BusSetup.open(world, drill.configuration(rank: world.rank), MessagingContext()).0
            var (sawEnd, garbage) = (false, 0)
            let deadline = ContinuousClock.now + .seconds(20)
            // Rank 1 leaves once both are set up, and its sockets close with it.
            try withExtendedLifetime(sockets) { try world.barrier() }
            while world.rank == 0, !sawEnd, garbage == 0, ContinuousClock.now < deadline {
                try sockets.poll(milliseconds: 10) { event in
                    switch event {
                    case .unsubscribed: sawEnd = true
                    case .garbage: garbage += 1
                    case .published, .replayed, .asked, .subscribed: break
                    }
                }
            }
            return (sawEnd, garbage)
        }
        #expect(seen[0] == (true, 0))
    }

    @Test func `what has arrived is handed over while another owner still computes`() async throws {
        let drill = BusDrill(layers: 2, steps: 1, transport: .ipc)
        let hasApplied = Atomic<Bool>(false)
        let handedOver = try await ThreadWorld.results(size: 2) { world in
            let bus = try drill.configuration(rank: world.rank).open(world, MessagingContext())
            try bus.beginStep(0, owners: [0, 1])
            // Rank 1 publishes when rank 0 has applied its own layer, which it must not put off.
            let deadline = ContinuousClock.now + .seconds(20)
            while world.rank == 1, !hasApplied.load(ordering: .acquiring), ContinuousClock.now < deadline { usleep(1000) }
            let inTime = ContinuousClock.now < deadline
            try bus.publish(drill.transition(step: 0, layer: world.rank))
            try bus.collect { if world.rank == 0, $0.layer == 0 { hasApplied.store(true, ordering: .releasing) } }
            try bus.finishStep(stateDigest: sha256([]))
            return inTime
        }
        #expect(handedOver[1])
    }

    /// The owner computes for many times as long as a request would be put off.
    @Test func `an owner that takes its time is not asked for what it has not computed, and nothing is sent twice`()
        async throws
    {
        let drill = BusDrill(layers: 6, steps: 3, transport: .ipc)
        let statistics = try await ThreadWorld.results(size: 3) { world in
            let bus = try drill.configuration(rank: world.rank).open(world, MessagingContext())
            for step in 0..<drill.steps {
                try bus.beginStep(step, owners: [0, 1, 2, 2, 2, 2])
                for layer in 0..<6 where min(layer, 2) == world.rank {
                    if world.rank == 2 { usleep(150_000) }
                    try bus.publish(drill.transition(step: step, layer: layer))
                }
                _ = try bus.collect()
                try bus.finishStep(stateDigest: sha256([]))
            }
            return bus.statistics
        }
        #expect(statistics.map(\.requests) == [0, 0, 0])
        #expect(statistics.map(\.replays) == [0, 0, 0])
        #expect(statistics.map(\.duplicates) == [0, 0, 0])
    }

    /// No later frame shows the loss of the last ones.
    @Test func `what is lost at the end of an owner's stream is found by what it says again`() async throws {
        var drill = BusDrill(layers: 4, steps: 40, transport: .ipc)
        drill.faults = 0.24
        let outcomes = try await ThreadWorld.results(size: 2) { [drill] in try drill.run($0) }
        #expect(outcomes.allSatisfy { $0.applied == 160 && $0.digest == outcomes[0].digest })
    }

    /// With the waits and tries of a run. Rank 0 has published everything, of which rank 1 lacks some, and its thread waits for
    /// another one of its own for longer than five requests take.
    @Test func `an owner that waits for its own threads is asked, and answers`() async throws {
        let drill = BusDrill(layers: 12, steps: 1, transport: .ipc)
        let statistics = try await ThreadWorld.results(size: 2) { world in
            var configuration = drill.configuration(rank: world.rank)
            configuration.timing = BusConfiguration.Timing()
            if world.rank == 1 {
                configuration.faults = FaultInjection(drop: 0.3, double: 0, reorder: 0, corrupt: 0, seed: 11, rank: 1)
            }
            let bus = try configuration.open(world, MessagingContext())
            try bus.beginStep(0, owners: [Int](repeating: 0, count: 12))
            for layer in 0..<12 where world.rank == 0 { try bus.publish(drill.transition(step: 0, layer: layer)) }
            try bus.collect {
                guard world.rank == 0, $0.layer == 0 else { return }
                let isHelped = try withHelper({ sleep(7) }, meanwhile: { try bus.poll() })
                #expect(isHelped)
            }
            try bus.finishStep(stateDigest: sha256([]))
            return bus.statistics
        }
        #expect(statistics[1].requests > 0 && statistics[0].replays > 0)
    }

    @Test(arguments: [BusTransport.ipc, .mpi])
    func `of what each rank knows, all learn the least with the end of the step`(transport: BusTransport) async throws {
        let drill = BusDrill(layers: 1, steps: 1, transport: transport)
        let learned = try await ThreadWorld.results(size: 3) { world in
            let bus = try drill.configuration(rank: world.rank).open(world, MessagingContext())
            try bus.beginStep(0, owners: [1])
            if world.rank == 1 { try bus.publish(drill.transition(step: 0, layer: 0)) }
            _ = try bus.collect()
            let own = (0..<3).map { $0 == world.rank ? Int64(10 * $0) : .max }
            return try bus.finishStep(stateDigest: sha256([]), leastOf: own)
        }
        #expect(learned == [[0, 10, 20], [0, 10, 20], [0, 10, 20]])
    }

    @Test func `a step with more bytes than the sockets hold does not stop two owners that wait for each other`() async throws {
        let drill = BusDrill(layers: 64, steps: 3, payloadBytes: 400_000, transport: .ipc)
        let outcomes = try await ThreadWorld.results(size: 2) { try drill.run($0) }
        #expect(outcomes[0].digest == outcomes[1].digest)
    }

    @Test(arguments: [BusTransport.ipc, .mpi])
    func `ranks in different states end the run on all ranks, naming them`(transport: BusTransport) async throws {
        let drill = BusDrill(layers: 2, steps: 1, transport: transport)
        let results = await ThreadWorld.run(size: 3) { world in
            let bus = try drill.configuration(rank: world.rank).open(world, MessagingContext())
            try bus.beginStep(0, owners: [0, 1])
            if world.rank < 2 { try bus.publish(drill.transition(step: 0, layer: world.rank)) }
            _ = try bus.collect()
            try bus.finishStep(stateDigest: sha256([world.rank == 2 ? 1 : 0]))
        }
        for result in results {
            #expect(
                throws: BusError.replicasDiffer(
                    step: 0, details: "state on rank 2 against rank 0; all received the same transitions")
            ) { try result.get() }
        }
    }

    @Test func `ranks with different configurations do not connect`() async throws {
        let results = await ThreadWorld.run(size: 2) { world in
            var configuration = BusDrill(layers: 2, steps: 1, transport: .ipc).configuration(rank: world.rank)
            configuration.configurationHash = [UInt8(world.rank)]
            _ = try configuration.open(world, MessagingContext())
        }
        for result in results { #expect(throws: BusError.configurationsDiffer(ranks: [1])) { try result.get() } }
    }

    @Test func `an owner that never publishes ends the wait with a temporary failure`() async throws {
        let results = await ThreadWorld.run(size: 2) { world in
            var configuration = BusDrill(layers: 2, steps: 1, transport: .ipc).configuration(rank: world.rank)
            configuration.timing.silence = .milliseconds(300)
            configuration.timing.repair = .milliseconds(300)
            let bus = try configuration.open(world, MessagingContext())
            try bus.beginStep(0, owners: [0, 0])
            _ = try bus.collect()
        }
        for result in results {
            #expect { try result.get() } throws: { ($0 as? BusError)?.exitCode == .temporary && "\($0)".contains("rank 0") }
        }
    }

    @Test func `sockets of one node are no files, so nothing can be left behind`() async throws {
        let drill = BusDrill(layers: 1, steps: 1, transport: .ipc)
        let before = try FileManager.default.contentsOfDirectory(atPath: NSTemporaryDirectory()).filter {
            $0.hasPrefix("sq-bus")
        }
        let endpoints = try await ThreadWorld.results(size: 2) { world in
            let bus = try ZeroMQExchange(world, drill.configuration(rank: world.rank), MessagingContext())
            try world.barrier()
            let endpoint = bus.endpoints.data, deadline = ContinuousClock.now + .seconds(10)
            // The list is read in pieces, and lacks some where other processes close theirs meanwhile.
            var isListed = false
            while !isListed, ContinuousClock.now < deadline {
                let sockets = try String(contentsOfFile: "/proc/net/unix", encoding: .utf8)
                isListed = sockets.contains(endpoint.dropFirst("ipc://".count))
            }
            return withExtendedLifetime(bus) { (endpoint, isListed) }
        }
        for (endpoint, isListed) in endpoints { #expect(endpoint.hasPrefix("ipc://@sq-bus-") && isListed, "\(endpoint)") }
        let after = try FileManager.default.contentsOfDirectory(atPath: NSTemporaryDirectory()).filter {
            $0.hasPrefix("sq-bus")
        }
        #expect(before == after)
    }

    /// The filter is libzmq's; a socket that admits another user than this one must get nothing.
    @Test func `a local socket admits its own user only`() throws {
        let context = try ZeroMQContext()
        for (user, isAdmitted) in [(Int(geteuid()), true), (Int(geteuid()) + 1, false)] {
            let (server, client) = (
                try ZeroMQSocket(context, .router, name: "server"), try ZeroMQSocket(context, .dealer, name: "client")
            )
            if isAdmitted { try server.admitOwnUserOnly() } else { try server.set(ZMQ_IPC_FILTER_UID, user) }
            let endpoint = try server.bind(Endpoints.local(run: .random(in: 0 ... .max), "c0"))
            try client.connect(endpoint)
            _ = try client.send([[1]])
            #expect(try ZeroMQSocket.poll([server], milliseconds: isAdmitted ? 10_000 : 300) == [isAdmitted])
        }
    }
}
