import Collectives
import Configuration
import Parallelism
import Support
import Testing

@testable import Runs

@Suite struct PipelineReportTests {
    private func report(_ timing: PipelineTiming) throws -> JSONObject {
        let config = try RunConfig()
        let groups = try ParallelGroups(.alone, LoopbackCommunicator())
        let report = try PipelineReport(timing, config.microBatches(.alone), batchSize: 4, groups)
        var results = JSONObject()
        report.add(to: &results)
        return results
    }

    /// One that resumes where all steps are taken.
    @Test func `an attempt without steps has measured nothing`() throws {
        let measured = ["bubble_fraction", "least_bubble_fraction", "ideal_bubble_fraction", "pipeline_efficiency"]
        let (idle, busy) = (try report(PipelineTiming()), try report(PipelineTiming(total: 2, forward: 1, backward: 1)))
        for key in measured { #expect(idle[key] == JSONValue.null && busy[key]?.number != nil, "\(key)") }
    }
}
