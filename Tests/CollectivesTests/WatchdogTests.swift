import Collectives
import Glibc
import TensorCore
import Testing

@Suite struct WatchdogTests {
    @Test func `a phase over its limit ends the process with the code for trying again`() async {
        await #expect(processExitsWith: .exitCode(ExitCode.temporary.rawValue)) {
            let watchdog = Watchdog(rank: 3)
            watchdog.begin("step 7", limit: .milliseconds(200))
            sleep(10)
        }
    }

    @Test func `phases that end in time, and a watchdog that is stopped, end nothing`() async {
        await #expect(processExitsWith: .success) {
            let watchdog = Watchdog(rank: 0)
            for step in 0..<5 {
                watchdog.begin("step \(step)", limit: .seconds(2))
                usleep(500_000)
            }
            watchdog.end()
            sleep(3)
            watchdog.begin("the last", limit: .seconds(2))
            watchdog.stop()
            sleep(3)
        }
    }
}
