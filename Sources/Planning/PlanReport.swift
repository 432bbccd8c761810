package import Configuration
internal import Models
package import Support

/// A plan as text, at most 80 columns wide, and as JSON.
package struct PlanReport: Sendable {
    private let search: LayoutSearch
    private let config: RunConfig
    private let model: String
    private var workload: Workload { search.workload }
    private var cluster: Cluster { search.cluster }

    /// Lines of a table.
    private static let shown = 8

    /// - Parameter model: the folder or config.json that was read.
    package init(_ search: LayoutSearch, _ config: RunConfig, model: String) {
        self.search = search
        self.config = config
        self.model = model
    }

    // MARK: Text

    package var text: String {
        let (running, learns) = (search.runs.filter(\.planned.runs), workload.learns)
        var lines = [model] + workload.shape.summary.wrapped(indent: 2)
        lines +=
            ("\(workload.job.rawValue): "
            + (learns ? "\(workload.steps) steps \(lookingAt)" : sequences(workload.sequences)))
            .wrapped(indent: 2)
        lines +=
            ("\(counted(cluster.nodes, "node")) of \(counted(cluster.coresPerNode, "core")) and "
            + "\(ByteCount(cluster.memoryPerNode).rounded)")
            .wrapped(indent: 2)
        lines += assumptions.flatMap { "assumed: \($0)".wrapped(indent: 2) } + [""]
        lines += table(running.isEmpty ? search.runs : running, isBatch: false).split(separator: "\n").map(String.init)
        lines += legend(running).flatMap { $0.wrapped(indent: 0) }
        if !search.largerBatches.isEmpty {
            lines += [""] + "with more sequences a step (training.batch_size), the best of each:".wrapped(indent: 0)
            lines += table(search.largerBatches, isBatch: true).split(separator: "\n").map(String.init)
        }
        lines += warnings.flatMap { ("warning: " + $0).wrapped(indent: 2) }.reduce(into: [""]) { $0.append($1) }
        lines += verdict.wrapped(indent: 0)
        if let best = search.best { lines += [""] + PlannedCommand(best, workload, config, model: model).lines }
        return lines.joined(separator: "\n")
    }

    /// What a step learns from.
    private var lookingAt: String {
        if workload.runsNetwork { return "of \(sequences(workload.sequences))" }
        guard workload.storedSequences > 0 else { return "on the weights" }
        return "on \(workload.storedTokens) tokens stored of \(sequences(workload.storedSequences))"
    }

    private func sequences(_ count: Int) -> String { "\(counted(count, "sequence")) of \(workload.length) tokens" }

    private var assumptions: [String] {
        var all = cluster.assumptions
        if config.data.evalWindows == nil {
            all.append("\(Workload.unknownWindows) windows are evaluated, where data.eval.windows says all")
        }
        if workload.job == .eval, !config.eval.tasks.entries.isEmpty {
            all.append("no time for eval.tasks, whose length is in their files")
        }
        if workload.narrowsProducts {
            all.append(
                "processors with AVX512_BF16, for training.precision=bfloat16: products "
                    + "\(CalibratedRates.narrowSpeed.formatted(decimals: 1)) times as fast as the "
                    + "\((cluster.productFlops / 1e9).formatted(decimals: 0)) GFLOPS of float32")
        }
        return all
    }

    /// The unit in which the times of some runs are shown: a few minutes in hours would have no digits left.
    private func unit(_ runs: [PlannedRun]) -> (name: String, ofAnHour: Double) {
        runs.first.map { $0.hours < 0.1 } ?? false ? ("seconds", 3600) : ("hours", 1)
    }

    private func table(_ runs: [PlannedRun], isBatch: Bool) -> String {
        let (learns, unit) = (workload.learns, unit(runs))
        var table = Table(
            columns: (isBatch ? ["batch"] : []) + ["layout", "ranks/ node", "threads", "memory/ rank"]
                + (learns ? ["s/step"] : []) + ["tokens/s", unit.name, "core- \(unit.name)"])
        for run in runs.prefix(Self.shown) {
            let layout = run.planned.layout.description
            table.add(
                (isBatch ? ["\(run.sequences)"] : [])
                    + [layout, "\(run.cluster.ranksPerNode)", threads(run.cluster), ByteCount(run.planned.peakMemory).rounded]
                    + (learns ? [run.planned.secondsPerStep.formatted(digits: 3)] : [])
                    + [run.tokensPerSecond, unit.ofAnHour * run.hours, unit.ofAnHour * run.coreHours].map {
                        $0.formatted(digits: 3)
                    })
        }
        return table.text
    }

    private func time(_ run: PlannedRun) -> String {
        let unit = unit([run])
        return "\((unit.ofAnHour * run.hours).formatted(digits: 3)) \(unit.name), "
            + "\((unit.ofAnHour * run.coreHours).formatted(digits: 3)) core-\(unit.name)"
    }

    private func threadsEach(_ cluster: Cluster) -> String {
        let count = counted(cluster.threadsPerRank, "thread") + " each"
        return cluster.threadsPerCore > 1 ? count + " (\(threads(cluster)))" : count
    }

    /// Where no layout runs: of those that fit, the one with the fewest replicas.
    private var withIdleReplicas: PlannedRun? {
        let fitting = search.best == nil ? search.runs.filter(\.planned.fits) : []
        return fitting.min { $0.planned.layout.data < $1.planned.layout.data }
    }

    private func threads(_ cluster: Cluster) -> String {
        guard cluster.threadsPerCore > 1 else { return "\(cluster.threadsPerRank)" }
        let each = "1/\(cluster.threadsPerCore.formatted(decimals: 1)) core"
        return cluster.threadsPerRank > 1 ? "\(cluster.threadsPerRank) × \(each)" : each
    }

    private func legend(_ running: [PlannedRun]) -> [String] {
        let (tooLarge, idle) = (
            search.runs.count { !$0.planned.fits }, search.runs.count { $0.planned.fits && !$0.planned.runs }
        )
        var parts = ["layout: replicas × stages × micro-batches of a replica"]
        if running.count > Self.shown { parts.append("\(running.count - Self.shown) more run (see --json)") }
        if tooLarge > 0 { parts.append("\(tooLarge) need more memory than a rank has") }
        if idle > 0 { parts.append("\(idle) would leave replicas idle") }
        return [parts.joined(separator: "; ")]
    }

    private var warnings: [String] {
        guard let best = search.best else { return [] }
        var all: [String] = []
        if let first = search.runs.first, !first.planned.runs {
            all.append(
                "\(first.planned.idleReplicas) of \(first.planned.layout.data) replicas would be idle, with "
                    + "\(sequences(workload.sequences)) a step; "
                    + "such a run is refused. Below, training.batch_size is \(best.sequences); or take fewer ranks "
                    + "(plan.ranks_per_node)"
            )
        } else if best.planned.idleReplicas > 0 {
            all.append(
                "\(best.planned.idleReplicas) of \(best.planned.layout.data) replicas are idle in " + dividedParts(best))
        }
        if PlannedCommand.path(of: model) == nil {
            all.append(
                "\(model) is not a model's folder; put the folder in place of \(PlannedCommand.unknownPath) in the command")
        }
        let cores = cluster.nodes * cluster.coresPerNode
        let used = best.planned.layout.ranks * best.cluster.threadsPerRank
        if used < cores { all.append("\(cores - used) of \(cores) cores are idle") }
        return all
    }

    /// What is divided among fewer replicas than there are.
    private func dividedParts(_ run: PlannedRun) -> String {
        if !workload.learns { return "the evaluation: it has \(counted(run.sequences, "window"))" }
        if workload.looksAtWeights {
            return "the steps: they divide the weights by blocks, and there are \(counted(workload.dividedParts, "block"))"
        }
        let key =
            config.data.train.path == nil && config.data.sampledSequences < config.rotation.sequences
            ? "data.sampled_sequences" : "rotation.sequences"
        return "the steps: they use \(counted(workload.dividedParts, "stored sequence")) (\(key))"
    }

    private var verdict: String {
        if let best = search.best {
            let (ranks, layout) = (best.cluster.ranksPerNode, best.planned.layout)
            return
                "best: \(time(best)) for the whole job, with \(counted(ranks, "rank")) a node, "
                + "\(threadsEach(best.cluster)), and \(counted(layout.data, "replica")) of "
                + counted(layout.pipeline, "stage")
        }
        if let idle = withIdleReplicas {
            return
                "nothing runs: \(idle.planned.layout.data) replicas and more have \(workload.sequences) sequences a step, and "
                + "each needs one; take fewer ranks (plan.nodes, plan.ranks_per_node) or more stages (parallel.pipeline)"
        }
        guard let least = search.runs.min(by: { $0.planned.peakMemory < $1.planned.peakMemory }) else { return "" }
        return "nothing fits: the smallest layout needs \(ByteCount(least.planned.peakMemory).rounded) a rank, and with "
            + "\(counted(least.cluster.ranksPerNode, "rank")) a node each has "
            + "\(ByteCount(least.cluster.memoryPerRank).rounded); take "
            + (["nodes with more memory (plan.memory_per_node)", "more of them"] + savingSettings).joined(separator: ", or ")
    }

    /// Settings that make the job need less memory.
    private var savingSettings: [String] {
        let recomputing = workload.cutsSteps && !config.training.recompute ? ["training.recompute=true"] : []
        let storages = workload.job.storages.drop { $0 != config.model.storage }.dropFirst()
        return recomputing + storages.map { "model.storage=\($0.rawValue)" }
    }

    /// The error to end with where no layout runs on this cluster.
    package var problem: ConfigurationError? {
        guard search.best == nil else { return nil }
        guard withIdleReplicas == nil else {
            return ConfigurationError(
                "training.batch_size", "no batch has a sequence for every replica; take fewer ranks, or more stages")
        }
        return ConfigurationError(
            "plan.memory_per_node", "no layout fits; take nodes with more memory, or more of them (plan.nodes)")
    }

    // MARK: JSON

    package var json: JSONValue {
        let shown = search.best ?? search.runs.first
        let ranks = shown?.cluster ?? cluster
        let fixed: JSONValue = [
            "job": .string(workload.job.rawValue), "model": .string(model), "steps": .integer(workload.steps),
            "sequences_per_step": .integer(workload.sequences), "sequence_length": .integer(workload.length),
            "world_size": .integer(ranks.ranks),
            "cluster": [
                "nodes": .integer(ranks.nodes), "ranks_per_node": .integer(ranks.ranksPerNode),
                "cores_per_node": .integer(ranks.coresPerNode), "memory_bytes_per_node": .integer(ranks.memoryPerNode),
                "memory_bytes_per_rank": .integer(ranks.memoryPerRank), "bandwidth_bytes_per_second": .double(ranks.bandwidth),
                "latency_seconds": .double(ranks.latency), "gemm_flops_per_core": .double(ranks.productFlops),
            ],
            "assumptions": .array(assumptions.map { .string($0) }), "warnings": .array(warnings.map { .string($0) }),
            "layouts": .array(search.runs.map(json)), "larger_batches": .array(search.largerBatches.map(json)),
        ]
        var object = fixed.object ?? JSONObject()
        object["best"] = search.best.map(json)
        object["command"] = search.best.map {
            .string(PlannedCommand($0, workload, config, model: model).words.joined(separator: " "))
        }
        return .object(object)
    }

    private func json(_ run: PlannedRun) -> JSONValue {
        let planned = run.planned
        return [
            "data": .integer(planned.layout.data), "pipeline": .integer(planned.layout.pipeline),
            "microbatches": .integer(planned.layout.microbatches), "ranks_per_node": .integer(run.cluster.ranksPerNode),
            "threads_per_rank": .integer(run.cluster.threadsPerRank), "batch_size": .integer(run.sequences),
            "fits": .bool(planned.fits), "runs": .bool(planned.runs), "idle_replicas": .integer(planned.idleReplicas),
            "layers_per_stage": .array(planned.layersPerStage.map { .double($0) }),
            "memory_bytes_per_stage": .array(planned.memory.map { .integer($0) }),
            "flops_per_step": .double(planned.operationsPerStep), "bytes_sent_per_step": .integer(planned.bytesPerStep),
            "busy_seconds_per_stage": .array(planned.busySeconds.map { .double($0) }),
            "communication_seconds_per_step": .double(planned.communicationSeconds),
            "bubble_fraction": .double(planned.bubbleFraction), "seconds_per_step": .double(planned.secondsPerStep),
            "tokens_per_second": .double(run.tokensPerSecond), "hours": .double(run.hours),
            "core_hours": .double(run.coreHours),
        ]
    }
}
