internal import Autograd
internal import Collectives
internal import Compression
internal import Configuration
internal import Evaluation
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Runs
internal import Support
internal import TensorCore
internal import TernarySVD
internal import Trainer
internal import TransitionBus

/// Trains a network whose linear layers are ternary: after every optimizer step their weights are projected onto factors again,
/// and the residual of a projection is carried to the next one (TSVD, arXiv 2308.07641, section on training).
struct TernaryQat<World: Communicator> {
    let context: JobContext<World>

    func run() throws {
        let (config, groups) = (context.config, context.groups)
        let (transition, route) = try transition()
        let (run, given) = try open()
        let fullPrecision = try run.perplexity(run.fullPrecision)
        context.reporter.note("full precision: perplexity \(fullPrecision.formatted(decimals: 2))")

        let trainer = try run.trainer(hooks: IdentityHooks(), teacher: config.distills ? run.fullPrecision : nil)
        let indices = try trainer.weights.linears(matching: config.ternary.layers, of: run.inputs.folder.architecture.linears)
            .filter { given?.factors[trainer.weights.layerName($0)] != nil || given == nil }
        let saved = run.restoredState()
        let ternary = try TernaryTraining(
            trainer.weights, indices: indices, transition, config, over: groups.replicas, attempt: context.attempt, from: saved,
            whileWaiting: context.events.serve)
        ternary.observe = layerObserver()
        let finished = FinishedLayers(run: context.folder.path, transition.options)
        let before: Start
        if let saved {
            try trainer.restore(saved)
            before = try Start(saved)
        } else {
            try begin(ternary, &trainer.weights, given, finished)
            before = try start(ternary, trainer, run)
        }
        var steps = Steps()
        let record = try train(trainer, ternary, from: before, &steps, run)
        let after = try report(ternary, trainer.weights, run)
        let (trained, bytes) = try write(ternary, trainer.weights, after, run)

        let own = Set(indices.map(trainer.weights.layerName))
        let table = try scores(fullPrecision, before, trained, after, own, run)
        var results = JSONObject()
        table.add(to: &results)
        results["method"] = "ternary"
        results["products"] = run.inputs.folder.architecture.products(ternary: after.layers.count)
        results["sparsity"] = .string(config.ternary.sparsity.rawValue)
        results["compression_seconds"] = .double(record.secondsPerStep * Double(config.training.steps))
        results["bits_per_weight"] = table.rows.last?.size.map { .double($0.bitsPerWeight) }
        results["loss"] = record.loss
        results["tolerance"] = .double(
            given.flatMap { $0.factors.values.map { Double($0.tolerance) }.max() } ?? config.ternary.tolerance)
        results["model_bytes"] = .integer(bytes)
        after.add(to: &results)
        results["additions_before"] = .integer(before.operations.additions)
        results["transition"] = try steps.summary(ternary, route, over: groups)
        context.reporter.note("\n" + costs(before.operations, after, run).text)
        try run.summarize(
            record, results, config.improvement(before: before.score, after: trained), table.text,
            timing: trainer.timing, hasTeacher: config.distills)
        for warning in [after.warning, after.refusals, table.distanceWarning(config, .qat)].compactMap(\.self) {
            context.reporter.note("\n" + warning)
        }
    }

    /// How layers are projected, and the bus's route to the other ranks, which is checked. Collective.
    private func transition() throws -> (LayerTransition, BusRoute) {
        let config = context.config
        let route = try BusRoute.find(config.bus.route, over: context.groups.replicas)
        let transition = try context.communicator.agree {
            try BusConfiguration.check(interface: config.bus.route.interface)
            try route.check()
            return try config.ternary.transition(seed: config.training.seed)
        }
        if let line = route.line { context.reporter.note(line) }
        return (transition, route)
    }

    /// The run, and the factors that it starts from; nil where it decomposes. Collective.
    private func open() throws -> (FullTrainingRun<World>, FactorsToStartFrom?) {
        let (config, world) = (context.config, context.communicator)
        var (given, note): (FactorsToStartFrom?, String?)
        let run = try FullTrainingRun(context, job: QatJob.name, from: .factors) { inputs, parameters in
            let linears = inputs.folder.architecture.linears
            if let path = config.ternary.path ?? inputs.factorFile {
                let factors = try FactorsToStartFrom(
                    path: path, config.ternary.layers, keepingTo: config.ternary.sparsity, mode: config.ternary.mode,
                    of: linears)
                given = factors
                // Factors in the model's own folder belong to it.
                if world.isRoot, config.ternary.path != nil {
                    note = try factors.checkOrigin(inputs.folder, allowsMismatch: config.allowMismatch)
                }
            } else {
                try QatJob.check(config, inputs.folder.architecture, inputs.folder.path)
                try inputs.folder.checkIsNoTernaryProduct(ModelWeights(parameters))
            }
        }
        if let given { context.reporter.note("starts from the factors of \(given.factors.count) layers in \(given.file)") }
        if let note { context.reporter.note(note) }
        return (run, given)
    }

    /// Publishes each layer's transition, and warns once about a layer whose adaptation was refused.
    private func layerObserver() -> (TernaryTraining<World>.LayerReport) -> Void {
        var refused: Set<String> = []
        return { layer in
            if layer.isRefusal, refused.insert(layer.name).inserted {
                context.reporter.note(
                    "warning: \(layer.name): an adaptation that would have removed more than half of the layer's additions was "
                        + "not made; training.learning_rate may be too high")
            }
            context.events.publish(
                layer: layer.name, components: layer.componentCount, ["branch": .string(layer.branch.rawValue)])
        }
    }

    /// The first factors. Collective.
    private func begin(
        _ ternary: TernaryTraining<World>, _ weights: inout ModelWeights<Tensor>, _ given: FactorsToStartFrom?,
        _ finished: FinishedLayers
    ) throws {
        var stop: StopRequested?
        do {
            try ternary.begin(&weights, from: given?.factors, keeping: finished)
        } catch let asked as StopRequested {
            stop = asked
        }
        // A stage with fewer layers finishes earlier, and would not notice.
        try context.communicator.agree { if let stop { throw stop } }
    }

    /// The network's score before the first step. Collective.
    private func start(
        _ ternary: TernaryTraining<World>, _ trainer: NetworkTrainer<IdentityHooks, World>, _ run: FullTrainingRun<World>
    ) throws -> Start {
        let dense = run.inputs.folder.architecture.linears.reduce(OperationCount()) { $0 + .linear($1.shape, tokens: 1) }
        // What this stage's layers add to a dense model's operations.
        let own = ternary.results.map(\.factors)
        var sums = [Int64(own.count), 0, 0]
        for factors in own {
            let weights = factors.u.rows * factors.v.columns
            sums[1] += Int64(factors.multiplications - weights)
            sums[2] += Int64(factors.additions - weights)
        }
        try context.groups.pipeline.allReduce(&sums, .sum)
        let start = Start(
            score: try run.score(trainer.network),
            operations: OperationCount(
                multiplications: dense.multiplications + Int(sums[1]), additions: dense.additions + Int(sums[2])))
        context.reporter.note(
            "ternary (\(sums[0]) layers): perplexity \(start.score.perplexity.formatted(decimals: 2)), "
                + "\(start.operations.additions) additions and \(start.operations.multiplications) multiplications per token "
                + "instead of \(dense.multiplications)")
        return start
    }

    /// Takes the steps: an optimizer step, then the layers' transitions. Collective.
    private func train(
        _ trainer: NetworkTrainer<IdentityHooks, World>, _ ternary: TernaryTraining<World>, from start: Start,
        _ steps: inout Steps,
        _ run: FullTrainingRun<World>
    ) throws -> StepRecord {
        let remembered = {
            var state = ternary.state
            state.merge(start.state)
            return state
        }
        var hasWarned = false
        return try run.train(trainer, remembering: remembered) { metrics in
            let step = try ternary.update(&trainer.weights)
            if !hasWarned, let refusal = ternary.refusal {
                hasWarned = true
                let rank = context.communicator.rank
                Console.printError("warning: rank \(rank) has refused \(refusal) on the bus; transition.refused counts them")
            }
            steps.add(step)
            metrics["transition_seconds"] = .double(step.seconds)
            metrics["branches"] = try step.branches.sum(over: context.groups.pipeline).json
            metrics["taken_over"] = .integer(try Int(context.groups.pipeline.allReduce(Int64(step.takenOver), .sum)))
            metrics["bus_bytes"] = .integer(step.bytes)
            metrics["state_digest"] = .string(hexadecimal(step.digest.prefix(8)))
            context.events.publish(
                "bus",
                [
                    "bytes_per_step": .integer(step.bytes), "bytes": .integer(steps.bytes),
                    "replays": .integer(ternary.replays),
                ])
        }
    }

    /// Writes `model/` and `ternary.safetensors`, and scores what was written. Collective.
    ///
    /// - Returns: the score, and the bytes of `model/` on rank 0.
    private func write(
        _ ternary: TernaryTraining<World>, _ weights: ModelWeights<Tensor>, _ report: TernaryReport,
        _ run: FullTrainingRun<World>
    ) throws -> (LanguageModelScore, bytes: Int) {
        let world = context.communicator
        let own = ternary.results.map { ($0.name, $0.factors) }
        let source = try world.agree { world.isRoot ? try run.inputs.folder.checkpoint.digest() : nil }
        let result = try run.writeAndScore(
            weights.parameters.packed(Dictionary(uniqueKeysWithValues: own)),
            FolderPacking(factors: report.factors, origin: .init(source: source)),
            "\(report.layers.count) linears as packed ternary factors")
        try world.agree {
            guard world.isRoot else { return }
            try TernaryFile.write(
                report.factors, to: context.folder.file(RunFiles.factors),
                origin: TernaryFile.Origin(
                    source: source, targets: [try context.writtenModel().folder.checkpoint.digest()]))
        }
        return result
    }

    /// The label of the layers before the first step.
    private func startLabel(_ run: FullTrainingRun<World>) -> String {
        context.config.ternary.path == nil && run.inputs.factorFile == nil ? "ternary, as decomposed" : "ternary, as given"
    }

    /// The ways to run the model, all without rounding of activations and cache. Collective.
    private func scores(
        _ fullPrecision: Double, _ before: Start, _ trained: LanguageModelScore, _ after: TernaryReport, _ own: Set<String>,
        _ run: FullTrainingRun<World>
    ) throws -> ScoreTable {
        let (factors, sizes) = (after.factors, try ModelSizes(run.inputs.folder))
        var table = ScoreTable(.factors, windows: run.evaluation.count, length: context.config.data.sequenceLength)
        table.add(
            ScoreTable.fullPrecision, run.inputs.isCompressed ? "as given" : "full precision", .full,
            LanguageModelScore.reference(perplexity: fullPrecision),
            sizes.stored)
        let rounded = try ModelSizes(run.inputs.folder, as: run.inputs.writtenType(context.config))
        if context.config.eval.compare { try run.addIntegers(own, all: Set(factors.keys), to: &table, rounded) }
        table.add("ternary_ptq", startLabel(run), .factors, before.score)
        table.addTernary("ternary_qat", "trained", trained, try context.writtenSize())
        return table
    }

    /// Operations per token.
    private func costs(_ before: OperationCount, _ after: TernaryReport, _ run: FullTrainingRun<World>) -> Table {
        var table = Table(columns: ["per token", "multiplications", "additions"])
        for (name, count) in [
            ("full precision", after.denseOperations), (startLabel(run), before),
            ("ternary, trained", after.operations),
        ] { table.add([name, String(count.multiplications), String(count.additions)]) }
        return table
    }

    /// The report on all stages' layers, on rank 0. Collective.
    private func report(
        _ ternary: TernaryTraining<World>, _ weights: ModelWeights<Tensor>, _ run: FullTrainingRun<World>
    ) throws -> TernaryReport {
        let c = run.inputs.folder.architecture
        let results = ternary.results
        let errors = try ternary.relativeErrors(of: results, weights, over: context.groups)
        let layers = zip(results, errors).map {
            TernaryReport.Layer(name: $0.name, factors: $0.factors, relativeError: $1, branchCounts: $0.branches.json)
        }
        return TernaryReport(try StageLayers.gather(layers, context.groups), of: c.linears)
    }

    /// The network as first decomposed, or as given.
    private struct Start {
        let score: LanguageModelScore
        let operations: OperationCount

        init(score: LanguageModelScore, operations: OperationCount) { (self.score, self.operations) = (score, operations) }

        var state: TrainingState {
            var state = TrainingState()
            state.numbers = [
                "start.perplexity": score.perplexity, "start.multiplications": Double(operations.multiplications),
                "start.additions": Double(operations.additions),
            ]
            state.numbers["start.divergence"] = score.klDivergence
            state.numbers["start.agreement"] = score.agreement
            return state
        }

        init(_ state: TrainingState) throws(CheckpointError) {
            // Earlier versions did not measure the divergence.
            score = LanguageModelScore(
                perplexity: try state.number("start.perplexity"), klDivergence: try state.optionalNumber("start.divergence"),
                agreement: try state.optionalNumber("start.agreement"))
            operations = OperationCount(
                multiplications: try state.count("start.multiplications"), additions: try state.count("start.additions"))
        }
    }

    /// Times of the transitions of this attempt's steps on this rank.
    private struct Steps {
        private(set) var bytes = 0
        private var takenOver = 0
        private var seconds: [Double] = []
        private var computeSeconds: [Double] = []
        /// Seconds from the end of the previous transitions.
        private var stepSeconds: [Double] = []
        private var end = ContinuousClock.now

        mutating func add(_ step: TernaryTraining<World>.StepReport) {
            bytes += step.bytes
            takenOver += step.takenOver
            seconds.append(step.seconds)
            computeSeconds.append(step.computeSeconds)
            stepSeconds.append((.now - end) / .seconds(1))
            end = .now
        }

        /// Means per step.
        ///
        /// What the bus adds to a step is the time of the slowest owner, from the optimizer's update to the end of the
        /// synchronization, without computing layers: sending, checking, decoding, W and ρ of all layers, digests,
        /// synchronization. All ranks end a step together, so the slowest owner is the rank with the least of such time, since
        /// the others have also waited for its layers, or for the processor. The share (`bus_overhead`) is relative to whole
        /// steps, forward and backward pass included. Collective.
        func summary(
            _ ternary: TernaryTraining<World>, _ route: BusRoute, over groups: ParallelGroups<World>
        ) throws -> JSONValue {
            let (count, world) = (seconds.count, groups.world)
            // Null in an attempt without steps.
            func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(count) }
            func mean(_ bytes: Int64) -> JSONValue { .init(count > 0 ? Int(bytes) / count : nil) }
            var longest = computeSeconds
            try world.allReduce(&longest, .max)
            var added = zip(seconds, computeSeconds).map { $0 - $1 }
            try groups.replicas.allReduce(&added, .min)
            try world.allReduce(&added, .max)
            let reference = try groups.pipeline.allReduce(Int64(ternary.referenceBytes), .sum)
            let published = try world.allReduce(Int64(ternary.publishedBytes), .sum)
            let takenOver = try groups.pipeline.allReduce(Int64(takenOver), .sum)
            let replays = try world.allReduce(Int64(ternary.replays), .sum)
            return [
                "seconds_per_step": .double(mean(seconds)), "longest_owner_seconds_per_step": .double(mean(longest)),
                "bus_seconds_per_step": .double(mean(added)), "bus_overhead": .double(mean(added) / mean(stepSeconds)),
                "bytes_published_per_step": mean(published), "bytes_reference_per_step": mean(reference),
                "replays": .integer(Int(replays)), "refused": .object(try ternary.refusals(over: world)),
                "taken_over": .integer(Int(takenOver)), "bus": route.summary,
            ]
        }
    }
}

extension TernaryReport {
    /// A warning about refused adaptations; nil where there were none.
    fileprivate var refusals: String? {
        let refused = layers.filter { ($0.branchCounts?["refused"]?.integer ?? 0) > 0 }
        guard let first = refused.first else { return nil }
        let count = refused.reduce(0) { $0 + ($1.branchCounts?["refused"]?.integer ?? 0) }
        return
            "warning: \(count) adaptations of \(refused.count) layers (such as \(first.name)) would have removed more than "
            + "half of a layer's additions and were not made; lower training.learning_rate"
    }
}

extension BranchCounts {
    fileprivate var json: JSONValue {
        ["refresh": .integer(refresh), "prune": .integer(prune), "full": .integer(full), "refused": .integer(refused)]
    }
}
