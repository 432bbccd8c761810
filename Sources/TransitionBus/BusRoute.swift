package import Collectives
internal import Glibc
package import Support

/// How the ranks of a job reach each other: found out by all together, before anything large is read.
package struct BusRoute {
    /// What the settings ask for.
    package struct Settings: Equatable, Sendable {
        package var transport = BusTransport.auto
        /// Interface name or IPv4 address for ``BusTransport/tcp``; nil: loopback on one node, else the one that reaches rank
        /// 0.
        package var interface: String?
        package var topology = BusTopology.Choice.auto
        /// Ranks that share a relay at most; nil: all of a machine.
        package var ranksPerRelay: Int?

        package init() {}
    }

    /// Never `auto`.
    package let transport: BusTransport
    package let topology: BusTopology
    /// The address or interface to bind, for ``BusTransport/tcp``.
    private let address: String
    /// What stands in the way, on this rank.
    private let problem: BusError?

    /// - Throws: ``BusError`` where this rank cannot do it; others may be able to.
    package func check() throws(BusError) { if let problem { throw problem } }

    /// For the user; nil where there is nothing to say.
    package var line: String? {
        guard transport != .mpi, problem == nil else { return nil }
        let carrier = transport == .tcp ? "tcp over \(address)" : "\(transport)"
        return "the transition bus: \(topology.line), by \(carrier); at most \(topology.connections) connections a rank"
    }

    /// For `summary.json`: the carrier, who connects to whom, and the connections of the rank that has most.
    package var summary: JSONValue {
        [
            "transport": .string(transport.rawValue), "topology": .string(topology.form.rawValue),
            "relays": .integer(topology.form == .relay ? topology.groups.count : 0),
            "connections": .integer(transport == .mpi ? 0 : topology.connections),
        ]
    }

    /// Whether what crosses machines is encrypted, and keys are asked for.
    var isEncrypted: Bool { transport == .tcp }

    /// Where a socket binds.
    /// - Parameter name: of the socket, different from all others of this machine.
    func endpoint(run: UInt64, _ name: String) -> String {
        transport == .tcp ? "tcp://\(address):*" : Endpoints.local(run: run, name)
    }

    /// Collective. - Throws: ``MPIError``.
    package static func find(_ settings: Settings, over world: some Communicator) throws(MPIError) -> BusRoute {
        let alone = BusTopology(.direct, machines: [0])
        guard world.size > 1, settings.transport != .mpi else {
            return BusRoute(transport: .mpi, topology: alone, address: "", problem: nil)
        }
        let nodes = try world.allGather(Endpoints.nodeIdentity())
        let machines = nodes.map { node in nodes.firstIndex(of: node) ?? 0 }
        let topology = BusTopology(settings.topology, machines: machines, ranksPerRelay: settings.ranksPerRelay)
        let isOneNode = machines.allSatisfy { $0 == 0 }
        let room = descriptorProblem(settings, machines)
        func route(_ transport: BusTransport, _ address: String, _ problem: BusError?) -> BusRoute {
            BusRoute(transport: transport, topology: topology, address: address, problem: problem)
        }
        if settings.transport == .ipc || (settings.transport == .auto && isOneNode) {
            let rule = "ipc reaches one node only, and this job has several: use tcp"
            return route(.ipc, "", isOneNode ? room : .unsuitable(setting: "bus.transport", rule: rule))
        }
        if let interface = settings.interface {
            do throws(BusError) { try Endpoints.check(interface) } catch { return route(.tcp, interface, error) }
            return route(.tcp, interface, room)
        }
        guard !isOneNode else { return route(.tcp, "127.0.0.1", room) }
        let address = try addressTowardsRoot(isAtHome: nodes[world.rank] == nodes[0], world)
        return route(.tcp, address ?? "", address == nil ? unreachable : room)
    }

    /// The own address that reaches rank 0 the best way that all ranks have; nil where there is none.
    private static func addressTowardsRoot(isAtHome: Bool, _ world: some Communicator) throws(MPIError) -> String? {
        let own = NetworkInterfaces.outward()
        var bytes = world.isRoot ? Array(own.map(\.text).joined(separator: " ").utf8) : []
        try world.broadcast(&bytes)
        let candidates = String(decoding: bytes, as: UTF8.self).split(separator: " ").compactMap { NetworkInterfaces.parse($0) }
        let survey = RouteSurvey(candidates: candidates, own: own, all: NetworkInterfaces.addresses(), isAtHome: isAtHome)
        let ways = candidates.map(survey.way)
        let all = try world.allGather(ways.map { Double($0.reach) })
        let reaches = (0..<world.size).map { rank in candidates.indices.map { Int64(all[rank * candidates.count + $0]) } }
        return RouteSurvey.best(reaches).flatMap { ways[$0].from?.text }
    }

    private static var unreachable: BusError {
        .unsuitable(
            setting: "bus.interface",
            rule: "no interface leads from every node to rank 0's: name the one that does (found: "
                + "\(Endpoints.names(NetworkInterfaces.addresses())))")
    }

    /// libzmq ends the process where it finds no descriptor left, so they are counted before.
    private static func descriptorProblem(_ settings: Settings, _ machines: [Int]) -> BusError? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < rlim_t(Int32.max) else {
            return nil
        }
        return descriptorProblem(settings, machines, open: openDescriptors, limit: Int(clamping: limit.rlim_cur))
    }

    static func descriptorProblem(_ settings: Settings, _ machines: [Int], open: Int, limit: Int) -> BusError? {
        func needed(_ choice: BusTopology.Choice, ranks: Int) -> Int {
            open
                + BusTopology(choice, machines: Array(machines.prefix(ranks)), ranksPerRelay: settings.ranksPerRelay)
                .descriptors
        }
        let all = machines.count
        guard needed(settings.topology, ranks: all) > limit else { return nil }
        return .tooFewDescriptors(
            ranks: all, needed: needed(settings.topology, ranks: all), limit: limit,
            fitting: (1...all).last { needed(settings.topology, ranks: $0) <= limit } ?? 1,
            relaysHelp: needed(.relay, ranks: all) <= limit)
    }

    /// Of this process; the listing itself has one.
    private static var openDescriptors: Int {
        guard let folder = opendir("/proc/self/fd") else { return 32 }
        defer { closedir(folder) }
        var count = -3
        while readdir(folder) != nil { count += 1 }
        return max(0, count)
    }
}
