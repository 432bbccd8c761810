import Collectives
import Glibc
import Support
import Testing

@Suite struct WatchdogTests {
    @Test func `a phase over its limit ends the process with the code for trying again`() async {
        await #expect(processExitsWith: .exitCode(ExitCode.temporary.rawValue)) {
            let watchdog = Watchdog(rank: 3)
            watchdog.begin("step 7", limit: .milliseconds(200))
            sleep(60)
        }
    }

    @Test func `a phase in which work gets done may last`() async {
        await #expect(processExitsWith: .success) {
            let watchdog = Watchdog(rank: 0)
            watchdog.begin("a long step", limit: .seconds(2))
            for _ in 0..<60 { usleep(100_000); WorkProgress.note() }
            watchdog.stop()
        }
    }

    @Test func `phases that end in time, and a watchdog that is stopped, end nothing`() async {
        await #expect(processExitsWith: .success) {
            let watchdog = Watchdog(rank: 0)
            // Longer than the limit together, far shorter each.
            for step in 0..<5 {
                watchdog.begin("step \(step)", limit: .seconds(6))
                usleep(1_500_000)
            }
            watchdog.begin("a phase that ends at once", limit: .seconds(2))
            watchdog.end()
            sleep(3)
            watchdog.begin("the last", limit: .seconds(2))
            watchdog.stop()
            sleep(3)
        }
    }
}
