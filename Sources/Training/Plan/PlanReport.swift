package import HuggingFace
internal import Models

/// A plan as text and as JSON.
package struct PlanReport: Sendable {
    private let workload: Workload
    private let cluster: Cluster
    /// The best first.
    package let layouts: [PlannedLayout]
    private let model: String

    /// Lines of the table.
    private static let shown = 12

    package init(_ planner: Planner, model: String) {
        workload = planner.workload
        cluster = planner.cluster
        layouts = planner.layouts()
        self.model = model
    }

    // MARK: Text

    package var text: String {
        var lines = [
            "\(model): \(workload.shape.summary)",
            "\(workload.job.rawValue): \(workload.sequences) sequences of \(workload.length) tokens a step",
            "\(cluster.nodes) × \(cluster.ranksPerNode) ranks, \(ByteCount(cluster.memoryPerRank).rounded) and "
                + "\(cores) each, \((cluster.productFlops / 1e9).formatted(decimals: 0)) GFLOPS a core", "",
            table.text,
        ]
        if layouts.count > Self.shown { lines.append("and \(layouts.count - Self.shown) more (see --json)") }
        lines += ["", verdict]
        return lines.joined(separator: "\n")
    }

    private var cores: String {
        cluster.ranksPerCore > 1
            ? "a \(cluster.ranksPerCore.formatted(decimals: 1))th of a core" : "\(cluster.threadsPerRank) core\(cluster.threadsPerRank > 1 ? "s" : "")"
    }

    private var table: Table {
        var table = Table(columns: ["data × pipeline × micro-batches", "memory a rank", "fits", "TFLOP a step", "MB sent", "bubble", "s a step", "tokens/s"])
        for planned in layouts.prefix(Self.shown) {
            table.add([
                planned.layout.description, ByteCount(planned.peakMemory).rounded, planned.fits ? "yes" : "no",
                (planned.operationsPerStep / 1e12).formatted(decimals: 3), (Double(planned.bytesPerStep) / 1e6).formatted(decimals: 1),
                planned.bubbleFraction.formatted(decimals: 2), Self.seconds(planned.secondsPerStep),
                Self.rate(tokensPerSecond(planned)),
            ])
        }
        return table
    }

    private var verdict: String {
        guard let best = layouts.first else { return "the configuration leaves no layout for \(cluster.ranks) ranks" }
        guard best.fits else {
            return "nothing fits: the smallest needs \(ByteCount(best.peakMemory).rounded) a rank, and there are "
                + "\(ByteCount(cluster.memoryPerRank).rounded)"
        }
        let layout = best.layout
        return "best: --set parallel.data=\(layout.data) --set parallel.pipeline=\(layout.pipeline) "
            + "--set parallel.microbatches=\(layout.microbatches)"
    }

    private func tokensPerSecond(_ planned: PlannedLayout) -> Double {
        Double(workload.sequences * workload.length) / planned.secondsPerStep
    }

    private static func seconds(_ value: Double) -> String { value.formatted(decimals: value < 10 ? 3 : 1) }
    private static func rate(_ value: Double) -> String { value.formatted(decimals: value < 10 ? 1 : 0) }

    // MARK: JSON

    package var json: JSONValue {
        [
            "job": .string(workload.job.rawValue), "model": .string(model), "sequences_per_step": .integer(workload.sequences),
            "sequence_length": .integer(workload.length), "world_size": .integer(cluster.ranks),
            "cluster": [
                "nodes": .integer(cluster.nodes), "ranks_per_node": .integer(cluster.ranksPerNode),
                "cores_per_node": .integer(cluster.coresPerNode), "memory_bytes_per_rank": .integer(cluster.memoryPerRank),
                "bandwidth_bytes_per_second": .double(cluster.bandwidth), "latency_seconds": .double(cluster.latency),
                "gemm_flops_per_core": .double(cluster.productFlops),
            ],
            "layouts": .array(layouts.map(json)),
        ]
    }

    private func json(_ planned: PlannedLayout) -> JSONValue {
        [
            "data": .integer(planned.layout.data), "pipeline": .integer(planned.layout.pipeline),
            "microbatches": .integer(planned.layout.microbatches), "fits": .bool(planned.fits),
            "layers_per_stage": .array(planned.stages.map { .integer($0.count) }),
            "memory_bytes_per_stage": .array(planned.memory.map { .integer($0) }),
            "flops_per_step": .double(planned.operationsPerStep), "bytes_sent_per_step": .integer(planned.bytesPerStep),
            "busy_seconds_per_stage": .array(planned.busySeconds.map { .double($0) }),
            "communication_seconds_per_step": .double(planned.communicationSeconds),
            "bubble_fraction": .double(planned.bubbleFraction), "seconds_per_step": .double(planned.secondsPerStep),
            "tokens_per_second": .double(tokensPerSecond(planned)),
        ]
    }
}
