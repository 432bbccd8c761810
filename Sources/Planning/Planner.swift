internal import Configuration
internal import Models

/// Predicts what a job needs on a cluster, layout by layout.
package struct Planner: Sendable {
    package let workload: Workload
    package let cluster: Cluster

    package init(_ workload: Workload, _ cluster: Cluster) {
        self.workload = workload
        self.cluster = cluster
    }

    /// Sequences of a step that the first replica computes, which has the most.
    private func replicaSequences(_ layout: Layout) -> Int { (workload.sequences + layout.data - 1) / layout.data }

    /// Memory, traffic and time of one layout, and whether it fits and runs.
    package func plan(_ layout: Layout) -> PlannedLayout {
        let share = replicaSequences(layout)
        let microbatch = (share + layout.microbatches - 1) / layout.microbatches
        let parts = workload.parts(layout)
        let microbatches = Double(layout.microbatches)
        let sharing = StepSharing(workload, layout, on: cluster)
        let stages = stages(layout, sharing)
        let perMicrobatch = stages.map(\.perMicrobatch)
        let once = stages.map(\.once.total)
        let seconds = perMicrobatch.map { $0.seconds(on: cluster) }
        let onceSeconds = once.map { $0.seconds(on: cluster) }
        let busy = zip(seconds, onceSeconds).map { microbatches * $0 + $1 }

        let traffic = Traffic(workload, layout, parts, microbatch: microbatch)
        let pipeline = passes(stages, layout, traffic.crossingSeconds(on: cluster))
        let communication =
            traffic.reductionSeconds(on: cluster) + traffic.busSeconds(on: cluster) + sharing.exchangeSeconds
        let inTurn = stages.map { $0.once.inTurn.seconds(on: cluster) }
        let longestOnce = inTurn.reduce(0, +) + (zip(onceSeconds, inTurn).map { $0 - $1 }.max() ?? 0)
        let always = workload.learns ? CalibratedRates.secondsOfStep : 0
        let saving = CheckpointTime(workload, parts, replicas: layout.data, on: cluster).besideAStep
        let longest = pipeline + longestOnce + communication + always
        // Ranks that share a core wait for each other, or for a core: whichever is longer.
        let shared = busy.reduce(0, +) / Double(layout.pipeline) * cluster.threadsPerCore + communication
        let memory = MemoryPlan(workload, layout).bytes
        let fits = (memory.max() ?? 0) <= cluster.memoryPerRank
        let idle = max(0, layout.data - workload.dividedParts)
        let operations = zip(perMicrobatch, once).reduce(0.0) { $0 + microbatches * $1.0.operations + $1.1.operations }
        return PlannedLayout(
            layout: layout, layersPerStage: parts.map { workload.shape.layerCount(of: $0.blocks) }, memory: memory,
            busySeconds: busy,
            operationsPerStep: Double(layout.data) * operations,
            bytesPerStep: traffic.bytesPerStep(exchanged: sharing.exchangedBytes), communicationSeconds: communication,
            secondsPerStep: max(longest, shared) + saving,
            bubbleFraction: pipeline > 0 ? 1 - microbatches * seconds.reduce(0, +) / (Double(layout.pipeline) * pipeline) : 0,
            fits: fits, idleReplicas: idle, runs: fits && !(workload.cutsSteps && idle > 0))
    }

    /// Seconds of a step's passes.
    ///
    /// The slowest stage sets the pace of the others. While the pipeline fills and drains it waits for their passes of one
    /// micro-batch. Of p seconds of such a pass, w may be gradients that are put off: then p − 2w are not filled (Qi et al.,
    /// arXiv 2401.10241, table 2). The teacher's passes fill the rest of the waiting as far as there is any.
    private func passes(
        _ stages: [StagePlan], _ layout: Layout, _ crossing: (stage: Double, boundary: Double)
    ) -> Double {
        guard workload.runsNetwork else { return 0 }
        let microbatches = Double(layout.microbatches)
        let all = stages.map { $0.perMicrobatch.seconds(on: cluster) }
        let inOrder = layout.pipeline == 1 ? all : zip(all, stages).map { $0 - $1.teacher.seconds(on: cluster) }
        let fill = zip(inOrder, stages).map { max(0, $0 - 2 * $1.weightGradients.seconds(on: cluster)) }
        let slowest = inOrder.indices.max { inOrder[$0] < inOrder[$1] } ?? 0
        let others = fill.reduce(0, +) - fill[slowest] + Double(layout.pipeline - 1) * crossing.boundary
        return max(
            microbatches * inOrder[slowest] + others + (microbatches - 1) * crossing.stage,
            microbatches * ((all.max() ?? 0) + crossing.stage))
    }

    /// What a rank of a stage computes.
    struct StagePlan {
        /// Work of one micro-batch, including ``teacher`` and ``weightGradients``, which stages do while they would wait.
        var perMicrobatch: Work
        var teacher: Work
        var weightGradients: Work
        /// Once in a step.
        var once: StageWork.Once
    }

    func stages(_ layout: Layout, _ sharing: StepSharing) -> [StagePlan] {
        let share = replicaSequences(layout)
        let microbatch = (share + layout.microbatches - 1) / layout.microbatches
        let work = StageWork(workload, sequences: microbatch, replicas: layout.data)
        return workload.parts(layout).map { part in
            func narrowed(_ work: Work) -> Work { workload.narrowsProducts ? work.narrowed : work }
            return StagePlan(
                perMicrobatch: narrowed(work.forward(part) + work.backward(part)), teacher: narrowed(work.teacher(part)),
                weightGradients: narrowed(work.weightGradients(part)), once: work.once(part, layout, sharing))
        }
    }

    /// Seconds of a step.
    func seconds(_ layout: Layout) -> Double { plan(layout).secondsPerStep }

    // MARK: Which layouts there are

    /// Every layout of the cluster's ranks that the configuration allows, the best first: those that run, by time, then those
    /// that do not, by memory.
    package func layouts() -> [PlannedLayout] { candidates.map(plan).sorted { $0.isBetter(than: $1) } }

    private var candidates: [Layout] {
        workload.stageCounts(ranks: cluster.ranks).flatMap { stages in
            let data = cluster.ranks / stages
            // Steps that do not run the network have no micro-batches.
            let counts =
                workload.runsNetwork
                ? microbatchCounts(smallestShare(data: data), stages: stages)
                : [workload.layout(data: data, stages: stages).microbatches]
            return counts.map { Layout(data: data, pipeline: stages, microbatches: $0) }
        }
    }

    /// Sequences of a step of the replica that has the fewest, since a run divides no replica's share into more parts. 1 where
    /// replicas are idle.
    private func smallestShare(data: Int) -> Int {
        max(1, workload.learns ? workload.sequences / data : (workload.sequences + data - 1) / data)
    }

    /// Powers of two, and one micro-batch per sequence; at least as many as there are stages. A job that does not learn takes
    /// one window after the other, whatever is set.
    private func microbatchCounts(_ sequences: Int, stages: Int) -> [Int] {
        guard workload.learns else { return [sequences] }
        if let count = workload.config.parallel.microbatches { return [min(count, sequences)] }
        let powers = (0...30).map { 1 << $0 }.prefix { $0 < sequences }
        return (powers + [sequences]).filter { $0 >= stages }
    }
}
