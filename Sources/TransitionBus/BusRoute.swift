package import Collectives
internal import Glibc

/// How the ranks of a job reach each other: found out by all together, before anything large is read.
package struct BusRoute {
    /// Never `auto`.
    package let transport: BusTransport
    /// The address or interface to bind, for ``BusTransport/tcp``.
    let address: String
    /// What stands in the way, on this rank.
    private let problem: BusError?

    /// Descriptors that connections take: per peer two sockets here and two that it makes, each with one for signals (measured:
    /// 6); for the rank's own sockets and libzmq's threads 24. Between machines MPI has connections of its own.
    private static let perPeer = 6, perDistantPeer = 8, own = 24

    /// - Throws: ``BusError`` where this rank cannot do it; others may be able to.
    package func check() throws(BusError) { if let problem { throw problem } }

    /// For the user; nil where there is nothing to say.
    package var line: String? { transport == .tcp && problem == nil ? "the transition bus uses tcp over \(address)" : nil }

    /// Collective. - Throws: ``MPIError``.
    package static func find(_ transport: BusTransport, interface: String?, over world: some Communicator) throws(MPIError)
        -> BusRoute
    {
        guard world.size > 1, transport != .mpi else { return BusRoute(transport: .mpi, address: "", problem: nil) }
        let nodes = try world.allGather(Endpoints.nodeIdentity())
        let isOneNode = nodes.allSatisfy { $0 == nodes[0] }
        let isLocal = transport == .ipc || (transport == .auto && isOneNode)
        let room = descriptorProblem(ranks: world.size, perPeer: isOneNode ? perPeer : perDistantPeer)
        if isLocal {
            let rule = "ipc reaches one node only, and this job has several: use tcp"
            return BusRoute(
                transport: .ipc, address: "", problem: isOneNode ? room : .unsuitable(setting: "bus.transport", rule: rule))
        }
        if let interface {
            do throws(BusError) { try Endpoints.check(interface) } catch {
                return BusRoute(transport: .tcp, address: interface, problem: error)
            }
            return BusRoute(transport: .tcp, address: interface, problem: room)
        }
        guard !isOneNode else { return BusRoute(transport: .tcp, address: "127.0.0.1", problem: room) }
        let address = try addressTowardsRoot(isAtHome: nodes[world.rank] == nodes[0], world)
        return BusRoute(transport: .tcp, address: address ?? "", problem: address == nil ? unreachable : room)
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
    private static func descriptorProblem(ranks: Int, perPeer: Int) -> BusError? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < rlim_t(Int32.max) else {
            return nil
        }
        return descriptorProblem(ranks: ranks, perPeer: perPeer, open: openDescriptors, limit: Int(clamping: limit.rlim_cur))
    }

    static func descriptorProblem(ranks: Int, perPeer: Int, open: Int, limit: Int) -> BusError? {
        let needed = open + own + perPeer * (ranks - 1)
        guard needed > limit else { return nil }
        return .tooFewDescriptors(
            ranks: ranks, needed: needed, limit: limit, fitting: max(1, (limit - open - own) / perPeer + 1))
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
