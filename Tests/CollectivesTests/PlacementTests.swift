import Support
import Testing

@testable import Collectives

@Suite struct PlacementTests {
    /// Ranks of one node of `all` cores; bound ones have `bound` cores each, one after the other.
    private func ranks(
        _ count: Int, threads: Int = 1, of all: Int, bound: Int? = nil, quota: Double? = nil, node: String = "a"
    ) -> [Placement.Rank] {
        (0..<count).map { rank in
            let cores = bound.map { width in Set((0..<width).map { (rank * width + $0) % all }) }
            return Placement.Rank(
                node: node, cores: cores ?? Set(0..<all), launcherCores: all, quota: quota, threads: threads, isLimited: false)
        }
    }

    @Test func `a line says how many ranks and threads are on how many cores, and whether they are bound`() {
        func line(_ ranks: [Placement.Rank]) -> String { Placement(ranks).line }
        #expect(line(ranks(1, threads: 2, of: 2)) == "1 rank × 2 threads on 2 cores")
        #expect(line(ranks(4, of: 8, bound: 1)) == "4 ranks × 1 thread on 8 cores, each bound to 1 core")
        #expect(line(ranks(1, of: 8, bound: 2)) == "1 rank × 1 thread on 8 cores, bound to 2 cores")
        #expect(
            line(ranks(2, threads: 4, of: 8) + ranks(2, threads: 4, of: 8, node: "b"))
                == "4 ranks × 4 threads on 2 nodes of 8 cores")
        #expect(
            line(ranks(2, threads: 4, of: 8) + ranks(1, threads: 4, of: 4, node: "b"))
                == "3 ranks × 4 threads on 2 nodes of 4 to 8 cores, 1 to 2 ranks each")
        var limited = ranks(1, of: 8)
        limited[0].isLimited = true
        #expect(line(limited).hasSuffix("; ulimit -v (or -d) allows no more threads, raise it"))
    }

    @Test func `more threads than cores are said to be, with what to do, however it came to them`() {
        let cases: [([Placement.Rank], Double, String)] = [
            (ranks(16, of: 2), 8, "2 ranks fit"), (ranks(2, threads: 8, of: 8), 2, "parallel.threads=4 fits"),
            (ranks(1, threads: 4, of: 8, bound: 1), 4, "--bind-to none"),
            // Two launchers that have bound their first rank to the same core.
            (ranks(1, of: 8, bound: 1) + ranks(1, of: 8, bound: 1), 2, "--bind-to none"),
            (ranks(4, of: 8, quota: 2), 2, "2 ranks fit"),
            (ranks(2, of: 8) + ranks(6, of: 4, node: "b"), 1.5, "4 ranks fit"),
        ]
        for (ranks, load, advice) in cases {
            let placement = Placement(ranks)
            #expect(placement.isOversubscribed && placement.json.object?["oversubscribed"] == .bool(true))
            #expect(placement.json.object?["threads_per_core"] == .double(load))
            #expect(placement.line.contains("oversubscribed") && placement.line.hasSuffix("\(advice))"), "\(placement.line)")
        }
    }

    @Test func `as many threads as cores are not too many`() {
        for ranks in [
            ranks(3, threads: 2, of: 7), ranks(8, of: 8, bound: 1), ranks(2, threads: 4, of: 8, bound: 4),
            ranks(3, of: 8, quota: 3.5),
            ranks(1, threads: 2, of: 3) + ranks(1, of: 3), ranks(2, of: 2) + ranks(2, of: 2, node: "b"),
        ] { #expect(!Placement(ranks).isOversubscribed, "\(Placement(ranks).line)") }
    }

    @Test func `what a rank says of itself arrives as it was`() {
        for rank in ranks(2, threads: 3, of: 8, bound: 2, quota: 1.5) + [.own] {
            #expect(Placement.Rank(decoding: rank.encoded) == rank)
        }
        #expect(Placement.Rank(decoding: Array("a\n0\n".utf8)) == nil)
        #expect(!Placement.Rank.own.cores.isEmpty && Placement.Rank.own.threads > 0)
    }

    @Test func `lists of cores are read as the kernel writes them`() {
        #expect(MPIEnvironment.coreList("\t0-3,8\n") == [0, 1, 2, 3, 8])
        #expect(MPIEnvironment.coreList("5") == [5])
        for text in ["", "a", "3-1", "1-2-3", "0-99999999"] { #expect(MPIEnvironment.coreList(text) == nil) }
        #expect(MPIEnvironment.allowedCores(of: "self") == MPIEnvironment.allowedCores(of: "thread-self"))
    }
}
