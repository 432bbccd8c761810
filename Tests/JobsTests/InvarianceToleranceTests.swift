import Collectives
import Configuration
import Support
import Testing
import Trainer

@testable import Jobs

/// How far `rotate` lets logits move.
@Suite struct InvarianceToleranceTests {
    @Test func `logits may move by what rounding takes, and are not taken for unchanged where they are no numbers`() throws {
        let (job, exact) = (RotateJob(), VerifySettings.exactTolerance)
        try job.check(exact, nil)
        try job.check(0.5 * exact, 0.5 * exact)
        for (change, given) in [(2 * exact, nil), (2 * exact, exact / 2), (.nan, nil), (.nan, 1)] as [(Double, Double?)] {
            #expect(throws: TrainingError.self, "\(change)") { try job.check(change, given) }
        }
        let error = #expect(throws: AgreedError.self) { try job.check(0.5 * exact, 0.1 * exact) }
        #expect(error?.exitCode == .configuration)
        let small = #expect(throws: AgreedError.self) { try job.check(3.2e-8, 1e-9) }
        #expect(small?.description.contains("differ by 3.20e-8 of") == true)
    }
}
