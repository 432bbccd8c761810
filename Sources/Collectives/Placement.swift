internal import Glibc
package import Support
internal import TensorCore

/// Which cores the ranks of a run have, and whether all their threads can run at a time.
package struct Placement: Sendable, Equatable {
    /// What a rank knows of itself.
    package struct Rank: Sendable, Equatable {
        /// The machine's name and when it was started.
        package var node: String
        /// The cores it may run on.
        package var cores: Set<Int>
        /// How many of its node's cores its launcher may use; nil without a launcher.
        package var launcherCores: Int?
        /// Cores' worth of time that its control groups allow; nil for no limit.
        package var quota: Double?
        package var threads: Int
        /// Whether more threads were wanted, and a limit of addresses leaves no room for them.
        package var isLimited: Bool

        /// Whether its launcher has tied it to some of the cores that it might have had.
        var isBound: Bool { launcherCores.map { cores.count < $0 } ?? false }
    }

    /// The ranks of one machine.
    private struct Node: Sendable, Equatable {
        let ranks: [Rank]

        /// How many there are for these ranks: those of their launcher, or as many as their control groups allow.
        var cores: Int {
            let own = ranks.reduce(into: Set<Int>()) { $0.formUnion($1.cores) }.count
            let all = max(own, ranks.compactMap(\.launcherCores).max() ?? 0)
            let quotas = ranks.compactMap(\.quota)
            return quotas.count < ranks.count ? all : max(1, min(all, Int(min(quotas.max() ?? 1, 1e6))))
        }

        /// Threads for each of its cores, of the one for which there are most.
        var load: Double {
            var demand: [Int: Double] = [:]
            for rank in ranks {
                for core in rank.cores { demand[core, default: 0] += Double(rank.threads) / Double(rank.cores.count) }
            }
            return max(demand.values.max() ?? 0, Double(ranks.reduce(0) { $0 + $1.threads }) / Double(cores))
        }
    }

    private let nodes: [Node]

    package init(_ ranks: [Rank]) {
        nodes = Dictionary(grouping: ranks, by: \.node).sorted { $0.key < $1.key }.map { Node(ranks: $0.value) }
    }

    /// The ranks of a run, with as many threads as each has. Collective.
    package init(of world: some Communicator) throws(MPIError) {
        self.init(try world.allGather(Rank.own.encoded).compactMap { Rank(decoding: $0) })
    }

    /// More threads than cores on any of the nodes.
    package var isOversubscribed: Bool { nodes.contains { $0.load > 1 + 1e-6 } }

    /// Whether ``line`` reports too many threads besides the ranks' places.
    package var hasTooManyThreads: Bool { isOversubscribed || ranks.contains(where: \.isLimited) }

    private var ranks: [Rank] { nodes.flatMap(\.ranks) }

    /// Such as "4 ranks × 2 threads on 2 nodes of 4 cores, each bound to 2 of them".
    package var line: String {
        let counts = nodes.map(\.ranks.count)
        var line = counted(ranks.count, "rank") + " × " + Self.range(ranks.map(\.threads), "thread")
        line += nodes.count > 1 ? " on \(nodes.count) nodes of " : " on "
        line += Self.range(nodes.map(\.cores), "core")
        if Set(counts).count > 1 { line += ", \(Self.range(counts, "rank")) each" }
        let bound = ranks.filter(\.isBound)
        if !bound.isEmpty {
            let who = bound.count == ranks.count ? (ranks.count > 1 ? ", each" : ",") : ", \(bound.count) of them"
            line += "\(who) bound to \(Self.range(bound.map(\.cores.count), "core"))"
        }
        if ranks.contains(where: \.isLimited) { line += "; ulimit -v (or -d) allows no more threads, raise it" }
        guard isOversubscribed, let full = nodes.max(by: { $0.load < $1.load }) else { return line }
        let advice =
            full.ranks.contains(where: \.isBound)
            ? "ranks are bound to too few cores: give mpirun --bind-to none"
            : full.ranks.count > full.cores
                ? "\(counted(full.cores, "rank")) fit"
                : "parallel.threads=\(full.cores / full.ranks.count) fits"
        return line + ": oversubscribed, \(full.load.formatted(decimals: 1)) threads share a core (\(advice))"
    }

    /// For `summary.json`: the most of any node or rank, but the least cores.
    package var json: JSONValue {
        [
            "nodes": .integer(nodes.count), "ranks_per_node": .integer(nodes.map(\.ranks.count).max() ?? 0),
            "cores_per_node": .integer(nodes.map(\.cores).min() ?? 0),
            "threads_per_rank": .integer(ranks.map(\.threads).max() ?? 0),
            "bound_ranks": .integer(ranks.count { $0.isBound }), "threads_per_core": .double(nodes.map(\.load).max() ?? 0),
            "oversubscribed": .bool(isOversubscribed),
        ]
    }

    private static func range(_ counts: [Int], _ what: String) -> String {
        guard let least = counts.min(), let most = counts.max(), least < most else { return counted(counts.first ?? 0, what) }
        return "\(least) to \(most) \(what)s"
    }
}

extension Placement.Rank {
    /// This process, with the threads it has now.
    package static var own: Self {
        let isAlone = MPIEnvironment.launch(MPIEnvironment.currentEnvironment()) == .alone
        return Self(
            node: "\(hostName()) \(KernelFile.bootIdentity)",
            cores: MPIEnvironment.allowedCores(of: "self") ?? Set(0..<MPIEnvironment.availableCores),
            launcherCores: isAlone ? nil : MPIEnvironment.allowedCores(of: "\(getppid())")?.count,
            quota: ControlGroups().coreQuota, threads: Team.threads, isLimited: Team.isLimited)
    }

    var encoded: [UInt8] {
        let numbers = cores.sorted().map(String.init).joined(separator: ",")
        return Array(
            "\(node)\n\(numbers)\n\(launcherCores ?? 0)\n\(quota ?? 0)\n\(threads)\n\(isLimited)".utf8)
    }

    /// nil where it is not of this form.
    init?(decoding bytes: [UInt8]) {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 6, let launcher = Int(lines[2]), let quota = Double(lines[3]), let threads = Int(lines[4]) else {
            return nil
        }
        self.init(
            node: String(lines[0]), cores: Set(lines[1].split(separator: ",").compactMap { Int($0) }),
            launcherCores: launcher > 0 ? launcher : nil, quota: quota > 0 ? quota : nil, threads: threads,
            isLimited: lines[5] == "true")
    }
}
