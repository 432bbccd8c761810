internal import Support

/// Who connects to whom. A value, found from the ranks' machines and the settings; the same on all ranks.
package struct BusTopology: Equatable, Sendable {
    /// `bus.topology`.
    package enum Choice: String, CaseIterable, Sendable {
        /// ``direct`` for as many ranks as it is faster for, else ``relay``.
        case auto
        /// Every rank to every other one.
        case direct
        /// Every rank to the relay of its group, and the relays to each other.
        case relay
    }

    /// Ranks up to which ``Choice/auto`` connects all to all.
    package static let directRanks = 32

    /// Never `auto`.
    package let form: Choice
    /// The ranks that share a relay, in ascending order, the first of which runs it. One machine's, or a part of them.
    let groups: [[Int]]
    /// The number of every rank's group.
    let groupByRank: [Int]
    /// How many ranks each rank's machine has.
    private let neighbors: [Int]

    /// - Parameters:
    ///   - machines: of every rank the number of its machine.
    ///   - ranksPerRelay: ranks that share a relay at most; nil: all of a machine.
    init(_ choice: Choice, machines: [Int], ranksPerRelay: Int? = nil) {
        let isDirect = choice == .direct || choice == .auto && machines.count <= Self.directRanks
        form = isDirect ? .direct : .relay
        let byMachine = Dictionary(grouping: machines.indices) { machines[$0] }
        neighbors = machines.map { byMachine[$0]?.count ?? 0 }
        groups = byMachine.values.flatMap { ranks in
            let size = ranksPerRelay ?? ranks.count
            return stride(from: 0, to: ranks.count, by: size).map { Array(ranks[$0..<min($0 + size, ranks.count)]) }
        }.sorted { $0[0] < $1[0] }
        var numbers = machines
        for (number, group) in groups.enumerated() { for rank in group { numbers[rank] = number } }
        groupByRank = numbers
    }

    /// Number of ranks.
    var size: Int { neighbors.count }

    /// The ranks that share this one's relay.
    private func group(of rank: Int) -> [Int] { groups[groupByRank[rank]] }

    /// What frames of a run begin with.
    static func topic(_ run: UInt64) -> [UInt8] { Array("T/\(String(run, radix: 16))/".utf8) }

    /// Connections that a rank has, its relay's among them: two each way between ranks that are connected directly; two from a
    /// rank to its relay; one each way between relays.
    package func connections(of rank: Int) -> Int {
        guard form == .relay else { return 4 * (size - 1) }
        let group = group(of: rank)
        return 2 + (group[0] == rank ? 2 * group.count + 2 * (groups.count - 1) : 0)
    }

    /// The most connections that any rank has.
    package var connections: Int { (0..<size).map { connections(of: $0) }.max() ?? 0 }

    /// Open files that a rank needs for its connections, for the sockets and threads of libzmq, and for MPI's own connections.
    ///
    /// A socket has one for signals, a connection one (measured). MPI connects ranks of other machines when they first talk:
    /// with all of them in the worst case, which counts where all are connected anyway; its collective operations, which are
    /// all that a bus with relays leaves, with two in each of log₂ N rounds.
    func descriptors(of rank: Int) -> Int {
        let own = 24
        let distant = size - neighbors[rank]
        guard form == .relay else { return own + 6 * (size - 1) + 2 * distant }
        let group = group(of: rank)
        let relay = group[0] == rank ? own + 2 * group.count + 3 * (groups.count - 1) : 0
        let rounds = Int.bitWidth - max(0, size - 1).leadingZeroBitCount
        return own + 4 + relay + min(2 * distant, 4 * rounds)
    }

    /// The most that any rank needs.
    var descriptors: Int { (0..<size).map { descriptors(of: $0) }.max() ?? 0 }

    /// What there is, for the user.
    package var line: String {
        form == .direct
            ? "every rank connected to every other"
            : "\(counted(groups.count, "relay")) for up to \(groups.map(\.count).max() ?? 0) ranks each"
    }
}
