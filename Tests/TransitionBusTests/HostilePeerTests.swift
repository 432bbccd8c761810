import BusTestSupport
import CZeroMQ
import Collectives
import Foundation
import Glibc
import Support
import Synchronization
import Testing

@testable import TransitionBus

/// Unlisted peers at the sockets of a run: the run goes on, nobody gets in, memory stays bounded.
@Suite(.serialized) struct HostilePeerTests {
    /// The endpoints of a run's ranks, for the attackers.
    ///
    /// Under a lock of pthreads, which ThreadSanitizer knows: a Mutex of the standard library it takes for none at all.
    final class Board: @unchecked Sendable {
        private let lock = NSLock()
        private var list: [PeerEndpoints] = []
        private var problem: (any Error)?
        /// Attacks on all ranks so far; and whether the attacker has stopped.
        let rounds = Atomic<Int>(0)
        let isOver = Atomic<Bool>(false)
        let hasEnded = Atomic<Bool>(false)

        var all: [PeerEndpoints] { lock.withLock { list } }
        func add(_ endpoints: PeerEndpoints) { lock.withLock { list.append(endpoints) } }

        /// Attacks again and again until the run is over.
        func repeatAttack(_ attack: ([PeerEndpoints]) throws -> Void) {
            do {
                while !isOver.load(ordering: .acquiring) {
                    let all = self.all
                    if all.count == 3 {
                        try attack(all)
                        rounds.add(1, ordering: .releasing)
                    }
                    usleep(5000)
                }
            } catch {
                // A rank that is done takes no more connections.
                if !isOver.load(ordering: .acquiring) { lock.withLock { problem = error } }
            }
            hasEnded.store(true, ordering: .releasing)
        }

        /// Waits for the attacker. - Throws: what has stopped it.
        func join() async throws {
            while !hasEnded.load(ordering: .acquiring) { try await Task.sleep(for: .milliseconds(5)) }
            if let problem = lock.withLock({ problem }) { throw problem }
        }
    }

    /// Runs the bus over tcp among three ranks for at least `milliseconds` and two attacks while `attack` is called again and
    /// again with their endpoints; returns the outcomes and the keys turned away.
    private static func underAttack(
        milliseconds: Int = 1500, _ attack: @escaping @Sendable ([PeerEndpoints]) throws -> Void
    ) async throws -> (outcomes: [BusDrill.Outcome], refused: Int, admitted: Int) {
        let board = Board()
        let drill = BusDrill(layers: 9, steps: 150, transport: .tcp)
        // A thread of its own: tasks wait for each other's.
        Thread.detachNewThread { board.repeatAttack(attack) }
        defer { board.isOver.store(true, ordering: .releasing) }
        let values = try await ThreadWorld.results(size: 3) { world in
            let messaging = try MessagingContext()
            let bus = try ZeroMQExchange(world, drill.configuration(rank: world.rank), messaging)
            board.add(bus.endpoints)
            let pause = UInt32(1000 * milliseconds / drill.steps)
            var outcome = try drill.run(on: bus, world) { _ in usleep(pause) }
            let deadline = ContinuousClock.now + .seconds(60)
            while board.rounds.load(ordering: .acquiring) < 2, !board.hasEnded.load(ordering: .acquiring),
                ContinuousClock.now < deadline
            {
                try bus.poll()
                usleep(1000)
            }
            outcome.statistics = bus.statistics
            board.isOver.store(true, ordering: .releasing)
            return (outcome, messaging.authenticator.refused, messaging.authenticator.admitted)
        }
        board.isOver.store(true, ordering: .releasing)
        try await board.join()
        #expect(board.rounds.load(ordering: .acquiring) >= 2)
        return (values.map(\.0), values.reduce(0) { $0 + $1.1 }, values.reduce(0) { $0 + $1.2 })
    }

    private static func expectUnharmed(_ outcomes: [BusDrill.Outcome]) {
        #expect(outcomes.allSatisfy { $0.applied == 9 * 150 && $0.digest == outcomes[0].digest })
        #expect(outcomes.map(\.statistics.refused) == [[:], [:], [:]])
    }

    /// A socket of an unlisted peer, connected, with a message under way.
    private static func knock(_ context: ZeroMQContext, at endpoint: String, keys: CurveKeys?, serverKey: String) throws {
        let socket = try ZeroMQSocket(context, .dealer, name: "an unlisted peer")
        try socket.set(ZMQ_ROUTING_ID, "r0")
        if let keys { try socket.secureAsClient(keys, serverKey: serverKey) }
        try socket.connect(endpoint)
        for _ in 0..<10 { _ = try socket.send([FrameHeader(.request, attempt: 0, owner: 0).encoded, []]) }
        usleep(20_000)
    }

    @Test func `a peer without a key, or with one that is not listed, does not get in`() async throws {
        let (outcomes, refused, admitted) = try await Self.underAttack { all in
            let context = try ZeroMQContext()
            for endpoints in all {
                for endpoint in [endpoints.control, endpoints.data] {
                    try Self.knock(context, at: endpoint, keys: nil, serverKey: "")
                    try Self.knock(context, at: endpoint, keys: .generate(), serverKey: endpoints.publicKey)
                    // Its own idea of the server's key.
                    try Self.knock(context, at: endpoint, keys: .generate(), serverKey: CurveKeys.generate().publicKey)
                }
            }
        }
        Self.expectUnharmed(outcomes)
        // Beyond the three self-tests.
        #expect(refused > 6)
        #expect(outcomes.reduce(0) { $0 + $1.statistics.refusedKeys } > 3)
        // Two connections from each rank to each other one; a rank that the machine forgets for seconds makes them again.
        #expect(admitted >= 12)
    }

    @Test func `the self-test passes where unlisted keys are turned away, and fails where one gets in`() throws {
        let messaging = try MessagingContext()
        let sockets = try DirectLinks(
            messaging, rank: 0, run: 1, bindings: ("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"), keys: .generate(),
            payloadLimits: [1])
        #expect(try BusSetup.refusesUnlistedKeys(sockets, keys: .generate(), within: .seconds(60)))
        let admitted = try CurveKeys.generate()
        try messaging.authenticator.allow(admitted.publicKey, domain: DirectLinks.authenticationDomain, as: "unlisted")
        #expect(try !BusSetup.refusesUnlistedKeys(sockets, keys: admitted, within: .seconds(60)))
        #expect(messaging.authenticator.admitted == 1)
        // A handler that is never asked has turned nobody away.
        #expect { try BusSetup.refusesUnlistedKeys(sockets, keys: .generate(), within: .zero) } throws: {
            ($0 as? BusError)?.exitCode == .temporary
        }
    }

    @Test func `garbage, silence and a length claim of 8 GiB change nothing and take no memory`() async {
        // In a process of its own: the peak is the process's, and other tests run beside this one.
        await #expect(processExitsWith: .success) {
            let before = peakMemory()
            let addresses = try addressSpacePeak()
            // A ZMTP 3.0 greeting, then a long message (flag 2) or, as the handshake of CURVE has, a long command (6) that
            // claims 8 GiB.
            func greeting(_ mechanism: String) -> [UInt8] {
                [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 0] + Array(mechanism.utf8)
                    + [UInt8](repeating: 0, count: 52 - mechanism.utf8.count)
            }
            func claim(_ flag: UInt8) -> [UInt8] { [flag, 0, 0, 0, 2, 0, 0, 0, 0] + [UInt8](repeating: 7, count: 1000) }
            let messages = [
                [], [UInt8](repeating: 0xA5, count: 4096), Array(greeting("NULL").prefix(11)), greeting("NULL") + claim(2),
                greeting("CURVE") + claim(6),
            ]
            let (outcomes, _, admitted) = try await HostilePeerTests.underAttack { all in
                for endpoints in all {
                    for endpoint in [endpoints.control, endpoints.data] {
                        for bytes in messages { try sendRaw(bytes, to: endpoint) }
                    }
                }
            }
            HostilePeerTests.expectUnharmed(outcomes)
            #expect(admitted >= 12)
            #expect(peakMemory() - before < 64 << 20)
            // Memory that is taken and not touched, which the peak does not show.
            #expect(try addressSpacePeak() - addresses < 4 << 30)
        }
    }
}

/// Opens a plain TCP connection, sends bytes, and leaves.
private func sendRaw(_ bytes: [UInt8], to endpoint: String) throws {
    let port = try #require(endpoint.split(separator: ":").last.flatMap { UInt16($0) })
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    // While the ranks run they listen: an attack that reaches nobody would harm nobody.
    guard connected == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    _ = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    usleep(2000)
}

/// Largest resident memory of this process so far, in bytes.
func peakMemory() -> Int {
    var usage = rusage()
    getrusage(RUSAGE_SELF.rawValue, &usage)
    return usage.ru_maxrss * 1024
}

/// Largest address space of this process so far, in bytes.
private func addressSpacePeak() throws -> Int {
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmPeak:") })
    return try #require(line.split(whereSeparator: { !$0.isNumber }).first.flatMap { Int($0) }) << 10
}
