internal import Autograd
internal import Collectives
internal import Compression
internal import Configuration
internal import Evaluation
internal import Models
internal import Parallelism
internal import Rotation
internal import Runs
internal import Support
internal import TensorCore
internal import Trainer

/// The common work of `train` and `qat` before and after their steps.
struct FullTrainingRun<World: Communicator> {
    private let run: LanguageModelRun<World>
    /// This rank's stage, as read from the model's folder.
    let parameters: Parameters<Tensor>
    let evaluation: [[Int32]]
    private let loop: TrainingLoop
    private let microBatches: MicroBatches

    var context: JobContext<World> { run.context }
    var inputs: LanguageModelInputs { run.inputs }

    /// Reads and checks the input, makes the run folder, and samples tokens where no text is given. Collective.
    ///
    /// - Parameter check: additional checks of the input by the job; called on every rank, without communication.
    init(
        _ context: JobContext<World>, job: String, from origin: LanguageModelInputs.StartingPoint = .floats,
        check: (LanguageModelInputs, Parameters<Tensor>) throws -> Void = { _, _ in }
    ) throws {
        (run, (parameters, microBatches)) = try LanguageModelRun.open(context, job: job, needsTraining: true, from: origin) {
            let parameters = try $0.folder.parameters($0.stages[context.groups.stage])
            try check($0, parameters)
            return (parameters, try context.config.microBatches(context.groups.dims))
        }
        loop = try run.trainingLoop(
            "training", automaticRate: TrainingSettings.automaticRate(context.config.training.optimizer),
            drawingFrom: parameters)
        evaluation = try run.evaluationWindows(drawingFrom: parameters)
    }

    /// The network of the stage as read.
    var fullPrecision: Network<IdentityHooks> {
        run.model.constantNetwork(parameters)
    }

    /// The network with other parameters.
    func network(_ parameters: Parameters<Tensor>) -> Network<IdentityHooks> { run.model.constantNetwork(parameters) }

    /// The same, with hooks.
    func network<Hooks: HookTransform>(_ parameters: Parameters<Tensor>, hooks: Hooks) -> Network<Hooks> {
        Network(model: run.model, parameters: parameters.map { _, tensor in Variable(constant: tensor) }, hooks: hooks)
    }

    /// The network that rotations are merged into. Collective.
    func rotationBase() throws -> RotationBase { try RotationBase.of(parameters.map { StoredTensor($1) }, run) }

    /// Collective.
    ///
    /// - Parameters:
    ///   - parameters: initial parameters; nil: as read.
    ///   - weightTransform: see ``NetworkTrainer``.
    func trainer<Hooks: HookTransform>(
        _ parameters: Parameters<Tensor>? = nil, hooks: Hooks, weightTransform: ((Tensor) -> Tensor)? = nil,
        teacher: Network<IdentityHooks>? = nil
    ) throws(MPIError) -> NetworkTrainer<Hooks, World> {
        StoragePool.shared.trim()
        return try NetworkTrainer(
            context.config.trainerSettings(microBatches), run.model, parameters ?? self.parameters, hooks: hooks,
            weightTransform: weightTransform,
            teacher: teacher,
            over: context.groups)
    }

    /// The state that an earlier attempt saved; nil for a run from the beginning.
    func restoredState() -> TrainingState? { run.checkpoints.restoredState() }

    /// Takes the remaining steps. Collective.
    ///
    /// - Parameters:
    ///   - more: the job's state besides the trainer's, for checkpoints.
    ///   - afterUpdate: called after each update of the weights, within the step's time; may add to the step's metrics.
    func train(
        _ trainer: NetworkTrainer<some HookTransform, World>,
        remembering more: () throws -> TrainingState = { TrainingState() },
        afterUpdate: (_ metrics: inout JSONObject) throws -> Void = { _ in }
    ) throws -> StepRecord {
        let state = {
            var state = trainer.state
            state.merge(try more())
            return state
        }
        return try loop.run(context, run.checkpoints, state: state) { step, batch, rate, metrics in
            let result = try trainer.step(
                step, batch, globalSequences: context.config.training.batchSize, learningRate: rate)
            try afterUpdate(&metrics)
            return result
        }
    }

    /// Perplexity on the evaluation windows. Collective.
    func perplexity(_ network: Network<some HookTransform>) throws -> Double {
        try evaluate(network, against: Network<IdentityHooks>?.none, windows: evaluation, context.groups).perplexity
    }

    /// Perplexity on the evaluation windows, and divergence from the network as it was read. Collective.
    func score(_ network: Network<some HookTransform>) throws -> LanguageModelScore {
        try evaluate(network, against: fullPrecision, windows: evaluation, context.groups)
    }

    /// The same for the trained network. Collective.
    ///
    /// - Throws: ``TrainingError/deadNetwork(vocabulary:)``.
    func trainedScore(_ network: Network<some HookTransform>) throws -> LanguageModelScore {
        let score = try score(network)
        try run.checkAlive(trained: score)
        return score
    }

    /// Parameters in the type of `model/`, so that the written numbers are scored.
    func asWritten(_ parameters: Parameters<Tensor>) throws -> Parameters<Tensor> {
        let type = try inputs.writtenType(context.config)
        return try context.communicator.agree {
            try parameters.map { name, tensor in try inputs.asWritten(tensor, named: name, as: type, context) }
        }
    }

    /// Adds the rows that ternary layers are compared with; see ``ScoreTable/addIntegers(_:of:all:_:_:_:_:_:)``. Collective.
    func addIntegers(_ own: Set<String>, all: Set<String>, to table: inout ScoreTable, _ sizes: ModelSizes) throws {
        try table.addIntegers(own, of: parameters, all: all, .none, run.model, sizes, evaluation, context.groups)
    }

    /// The scores of the network as read, and rounded. Collective.
    func plainScore(_ recipe: QuantizationRecipe) throws -> PlainScore {
        try PlainScore(
            run.model, parameters, WeightPlan(context.config, run.model.architecture), recipe, evaluation, context.groups)
    }

    /// Writes the model, each stage its own shard. Collective.
    ///
    /// - Parameter description: see ``LanguageModelInputs/write(_:_:as:_:_:)``.
    /// - Returns: bytes of the model's weights, on rank 0.
    func write(_ parameters: Parameters<Tensor>, _ description: String) throws -> Int {
        try inputs.write(parameters.dense, as: try inputs.writtenType(context.config), description, context)
    }

    /// The same for a compressed model. The written model is read back and scored, run from its packed form. Collective.
    func writeAndScore(
        _ parameters: Parameters<CompressedValue>, _ packing: FolderPacking, _ description: String
    ) throws -> (score: LanguageModelScore, bytes: Int) {
        // A network that predicts nothing after training is not written. One window per replica shows that.
        let network = CompressedModel(parameters, packing.execution).network(run.model)
        let first = Array(evaluation.prefix(context.groups.dims.data))
        try run.checkAlive(trained: evaluate(network, against: Network<IdentityHooks>?.none, windows: first, context.groups))
        let bytes = try inputs.write(
            parameters, packing, as: try inputs.writtenType(context.config), description, context)
        return (try trainedScore(try inputs.readBack(context).network(run.model)), bytes)
    }

    /// Writes `summary.json` and prints the table. Collective.
    func summarize(
        _ record: StepRecord, _ results: JSONObject, _ improvement: Improvement, _ table: String,
        timing: PipelineTiming, hasTeacher: Bool = false
    ) throws {
        let config = context.config
        // A backward pass through all weights takes two products for each of the forward pass.
        let forward = ModelCost(inputs.folder.architecture).forward(
            sequences: config.training.batchSize, length: config.data.sequenceLength)
        let pipeline = try PipelineReport(timing, microBatches, batchSize: config.training.batchSize, context.groups)
        var results = results
        pipeline.add(to: &results)
        try run.addReplicatedShare(to: &results, run.job == ModelJob.qat.rawValue ? .qat : .train)
        improvement.add(to: &results)
        let summary = try run.finish(
            MeasuredSteps(
                count: config.training.steps, seconds: record.secondsPerStep, tokens: run.tokensPerStep,
                bytesSent: record.bytesSentPerStep, flops: forward * (hasTeacher ? 4 : 3)), results)
        context.reporter.note("\n" + table)
        for line in [pipeline.line, improvement.line].compactMap(\.self) { context.reporter.note("\n" + line) }
        context.reporter.note("\n\(Int(summary.tokensPerSecond)) tokens/s; results in \(context.folder.path)")
    }
}
