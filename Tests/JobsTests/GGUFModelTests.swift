import Collectives
import EmbeddedModel
import Exports
import Models
import Support
import Synchronization
import TestSupport
import Testing

@testable import Configuration
@testable import Jobs
@testable import Runs

/// Commands that only look at a model, on a GGUF file.
@Suite struct GGUFModelTests {
    private func output(_ work: (Reporter) throws -> Void) throws -> String {
        let text = Mutex("")
        try work(Reporter(isSpeaking: true, isTerminal: false, interval: .seconds(5)) { part in text.withLock { $0 += part } })
        return text.withLock { $0 }
    }

    @Test func `a plan and a profile of a GGUF file are those of its model, and leave nothing beside it`() throws {
        let (folder, world) = (try TemporaryFolder(), LoopbackCommunicator())
        let path = folder.file("a.gguf")
        _ = try ModelWriters.named(.ggufF32).write(ExportRequest(source: EmbeddedModel.path, out: path))
        func plan(_ model: String) throws -> JSONValue? {
            try JSONValue(
                parsing: Array(
                    output {
                        try PlanJob(model, asJSON: true).run(RunConfig(assignments: ["plan.cores_per_node=4"]), world, $0)
                    }.utf8))["layouts"]
        }
        func profile(_ model: String) throws -> String {
            try output { try ProfileJob(nil).run(SettingsRequest(model: model).configuration(on: world), world, $0) }
        }
        #expect(try plan(path) != nil && plan(path) == plan("embedded"))
        #expect(try profile(path) == profile("embedded"))
        #expect(try entries(ofFolder: folder.path) == ["a.gguf"])
    }
}
