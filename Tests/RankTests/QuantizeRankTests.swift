import Collectives
import Configuration
import EmbeddedModel
import Models
import Support
import TestSupport
import Testing

@testable import Jobs
@testable import Runs

extension RankTests {
    @Suite(.serialized) struct QuantizeTests {
        let world = RankWorld.shared

        /// Ranks of one machine exchange the rows of exact steps in far less time than these take; iterative steps are never
        /// divided, and all else that is sent is the same.
        @Test func `the steps by which quantize learns rotations are divided among ranks`() throws {
            let own = try world.agree { world.isRoot ? try TemporaryFolder() : nil }
            let folder = try world.fromRoot { own?.path ?? "" }
            let steps = 3
            func sent(_ retraction: String) throws -> Int {
                let settings = SettingsRequest(assignments: [
                    "out=\(folder)/\(retraction)", "data.sequence_length=16", "data.eval.windows=2",
                    "data.sampled_sequences=4", "quantize.transform=learned", "quantize.learning_steps=\(steps)",
                    "quantization.weights.bits=4", "quantization.weights.method=rtn", "rotation.retraction=\(retraction)",
                ])
                let before = world.bytesSent
                try QuantizeJob().run(JobRequest(settings, resume: .auto), Reporter(isSpeaking: false), on: world)
                return world.bytesSent - before
            }
            let width = try ModelFolder(EmbeddedModel.path).architecture.hiddenSize
            // Of R1 alone.
            let rows = steps * 4 * width * width / world.size
            let more = try sent("exact") - sent("iterative")
            #expect(world.size > 1 ? more >= rows : more == 0)
            try world.barrier()
            withExtendedLifetime(own) {}
        }
    }
}
