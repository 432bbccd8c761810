import Collectives
import Foundation
import Testing

@Suite struct LauncherWatchTests {
    private static let second = Duration.seconds(1)

    /// What is said after each look.
    private func verdicts(_ looks: [(hasRanks: Bool, isHeld: Bool)], elapsed: Duration = second) -> [Bool] {
        var watch = LauncherWatch()
        return looks.map { watch.note(hasRanks: $0.hasRanks, folderIsHeld: $0.isHeld, elapsed: elapsed) == .outlivesRun }
    }
    private func looks(_ count: Int, ranks: Bool, held: Bool = false) -> [(hasRanks: Bool, isHeld: Bool)] {
        Array(repeating: (ranks, held), count: count)
    }
    private var timeout: Int { Int(LauncherWatch.exitTimeout.components.seconds) }

    @Test func `a launcher that stays is given up once its ranks have been gone for the timeout, whoever has the folder`() {
        for held in [true, false] {
            let said = verdicts(looks(5, ranks: true, held: held) + looks(timeout, ranks: false, held: held))
            #expect(said.firstIndex(of: true) == 5 + timeout - 1)
        }
    }

    @Test func `ranks that start slowly, or are there again, are waited for`() {
        #expect(!verdicts(looks(10_000, ranks: false) + looks(10_000, ranks: true)).contains(true))
        let blink = looks(1, ranks: true) + looks(timeout - 1, ranks: false)
        #expect(!verdicts(blink + blink + blink).contains(true))
    }

    @Test func `a run without ranks here is over when its first rank has let go of the folder`() {
        let run = looks(3, ranks: false) + looks(100, ranks: false, held: true)
        #expect(verdicts(run + looks(timeout, ranks: false)).firstIndex(of: true) == run.count + timeout - 1)
        #expect(!verdicts(run + looks(timeout - 1, ranks: false) + looks(1000, ranks: false, held: true)).contains(true))
    }

    /// An attempt before this one, on a lost host, may end long after this one has begun, and before its own rank 0 is there.
    @Test func `a folder that was held from the first says nothing`() {
        #expect(!verdicts(looks(5, ranks: false, held: true) + looks(1000, ranks: false)).contains(true))
    }

    /// Launcher and supervisor may both have been stopped: an hour's look is one look.
    @Test func `a long time between two looks counts as a second`() {
        let said = verdicts(looks(1, ranks: true) + looks(timeout, ranks: false), elapsed: .seconds(3600))
        #expect(said.firstIndex(of: true) == timeout)
    }

    /// Seconds until a launcher that starts nothing is given up, after an attempt whose first rank came so late.
    private func startLimit(after seconds: Int?, isHeld: Bool = false) -> Int? {
        var earlier = LauncherWatch()
        for _ in 0..<(seconds ?? 5) { _ = earlier.note(hasRanks: false, folderIsHeld: false, elapsed: Self.second) }
        if seconds != nil { _ = earlier.note(hasRanks: true, folderIsHeld: false, elapsed: Self.second) }
        var watch = LauncherWatch(after: earlier)
        return (1...5000).first { look in
            watch.note(hasRanks: false, folderIsHeld: isHeld && look > 1, elapsed: Self.second) != nil
        }
    }

    @Test func `a launcher that has started ranks here before, and starts none, is given up; one that never has is not`() {
        #expect(startLimit(after: 3) == 300 && startLimit(after: 200) == 800)
        #expect(startLimit(after: nil) == nil)
        #expect(startLimit(after: 3, isHeld: true) == nil)
    }

    @Test func `children are those of every thread, and know their program`() throws {
        let sleeper = Process()
        sleeper.executableURL = URL(fileURLWithPath: "/bin/sleep")
        sleeper.arguments = ["100"]
        try sleeper.run()
        defer {
            sleeper.terminate()
            sleeper.waitUntilExit()
        }
        let process = sleeper.processIdentifier
        // Until then it is a copy of this one.
        for _ in 0..<1000 where ChildProcesses.runsThisProgram(process) { usleep(1000) }
        #expect(ChildProcesses.of(getpid()).contains(process))
        #expect(ChildProcesses.runsThisProgram(getpid()) && !ChildProcesses.runsThisProgram(process))
        #expect(ChildProcesses.of(process).isEmpty)
    }
}
