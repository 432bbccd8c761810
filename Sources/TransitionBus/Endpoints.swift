internal import Collectives
internal import Glibc

/// Where the sockets of a rank bind.
enum Endpoints {
    /// What tells nodes apart: the name of the host, its boot (containers may share names), and its network, which containers
    /// of one machine may each have.
    static func nodeIdentity() -> [UInt8] {
        Array((hostName() + KernelFile.bootIdentity + KernelFile.namespace("net")).utf8)
    }

    /// A name for a socket of Linux's abstract kind, which leaves no file behind whatever ends the process. The run's number is
    /// not known to others before the socket is bound, so none can be there first.
    static func local(run: UInt64, _ name: String) -> String { "ipc://@sq-bus-\(String(run, radix: 36))/\(name)" }

    /// Whether `interface` may be bound.
    /// - Throws: ``BusError/unsuitable(setting:rule:)`` for what is no interface of this machine, or all of them.
    static func check(_ interface: String) throws(BusError) {
        guard !interface.isEmpty, interface != "*", interface != "0.0.0.0", !interface.contains(":") else {
            throw .unsuitable(
                setting: "bus.interface", rule: "`\(interface)` would accept connections on every interface: name one")
        }
        let addresses = NetworkInterfaces.addresses()
        guard addresses.contains(where: { $0.interface == interface || $0.text == interface }) else {
            throw .unsuitable(
                setting: "bus.interface",
                rule:
                    "`\(interface)` is neither an interface of this machine nor an IPv4 address of one (found: "
                    + "\(names(addresses)))"
            )
        }
    }

    /// Names of interfaces, without loopback.
    static func names(_ addresses: [NetworkAddress]) -> String {
        let names = Set(addresses.filter { !$0.isLoopback }.map(\.interface)).sorted()
        return names.isEmpty ? "none" : names.joined(separator: ", ")
    }
}

/// The way from a rank to addresses of rank 0.
struct RouteSurvey {
    /// How well an address of rank 0 can be reached; the higher the better.
    enum Reach {
        static let none: Int64 = 0, routed: Int64 = 1, neighbor: Int64 = 2
    }

    /// Rank 0's addresses.
    let candidates: [UInt32]
    /// This rank's own addresses that may be used.
    let own: [NetworkAddress]
    /// Every address of this rank's, also such as Docker's, which is the same on every machine.
    let all: [NetworkAddress]
    /// Whether rank 0 is on this machine.
    let isAtHome: Bool
    /// See ``NetworkInterfaces/source(towards:)``.
    var source: (UInt32) -> UInt32? = NetworkInterfaces.source

    /// The own address to reach a candidate from, and how well it does.
    func way(to candidate: UInt32) -> (reach: Int64, from: NetworkAddress?) {
        if isAtHome { return (Reach.neighbor, own.first { $0.address == candidate }) }
        // An address that this machine has itself leads nowhere else.
        guard !all.contains(where: { $0.address == candidate }) else { return (Reach.none, nil) }
        if let neighbor = own.first(where: { $0.isNeighbor(of: candidate) }) { return (Reach.neighbor, neighbor) }
        guard let source = source(candidate), let route = own.first(where: { $0.address == source }) else {
            return (Reach.none, nil)
        }
        return (Reach.routed, route)
    }

    /// The candidate that all ranks reach best, the first of equals; nil where some rank reaches none of those that others do.
    /// - Parameter reaches: of every rank, by candidate.
    static func best(_ reaches: [[Int64]]) -> Int? {
        let worst = (reaches.first?.indices ?? 0..<0).map { candidate in reaches.map { $0[candidate] }.min() ?? Reach.none }
        guard let best = worst.max(), best > Reach.none else { return nil }
        return worst.firstIndex(of: best)
    }
}
