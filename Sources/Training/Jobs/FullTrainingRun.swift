internal import Autograd
internal import Collectives
internal import Evaluation
internal import HuggingFace
internal import LinearAlgebra
internal import Models
internal import TensorCore

/// What `train` and `qat` have in common before and after their steps.
struct FullTrainingRun<World: Communicator> {
    let context: JobContext<World>
    let job: String
    let inputs: LanguageModelInputs
    /// As read from the model's folder.
    let parameters: LlamaParameters<Tensor>
    let model: Llama
    let loop: TrainingLoop
    let evaluation: [[Int32]]
    private let peak: Double

    /// Reads and checks the input, makes the run folder, and draws tokens where no text is given. Collective.
    ///
    /// - Parameter check: what the job asks of the input besides; on every rank, without communication.
    init(
        _ context: JobContext<World>, job: String, check: (LanguageModelInputs, LlamaParameters<Tensor>) throws -> Void = { _, _ in }
    ) throws {
        let (config, world) = (context.config, context.communicator)
        self.context = context
        self.job = job
        let inputs = try world.agree {
            guard try config.layout(worldSize: world.size).pipeline == 1 else {
                throw ConfigurationError("parallel.pipeline", "\(job) runs data-parallel only; leave it at 1 or auto")
            }
            return try LanguageModelInputs(config, needsTraining: true)
        }
        let parameters = try world.agree {
            let parameters = try inputs.folder.parameters()
            try check(inputs, parameters)
            return parameters
        }
        try world.agree { try context.folder.create(config) }
        context.reporter.note("model \(inputs.folder.path): \(inputs.folder.configuration.summary)")
        model = Llama(inputs.folder.configuration, positions: config.data.sequenceLength)
        peak = measureProductPeak()
        loop = TrainingLoop(config: config, windows: try inputs.trainingWindows(model, parameters, context))
        evaluation = try inputs.evaluationWindows(model, parameters, context)
        self.inputs = inputs
        self.parameters = parameters
    }

    /// The network as it was read.
    var fullPrecision: Network<Untouched> {
        Network(model: model, parameters: parameters.map { _, tensor in Variable(constant: tensor) }, sites: Untouched())
    }

    /// - Parameters:
    ///   - parameters: where to start; nil: as read.
    ///   - view: see ``NetworkTrainer``.
    func trainer<Sites: SiteTransform>(
        _ parameters: LlamaParameters<Tensor>? = nil, sites: Sites, view: ((Tensor) -> Tensor)? = nil, teacher: Network<Untouched>? = nil
    ) -> NetworkTrainer<Sites, World> {
        StoragePool.shared.trim()
        return NetworkTrainer(
            context.config.trainerSettings, model, parameters ?? self.parameters, sites: sites, view: view, teacher: teacher,
            over: context.communicator)
    }

    /// Writes `summary.json` and prints the table. Collective.
    func summarise(
        _ record: TrainingLoop.Record, _ results: JSONObject, _ table: Table, seconds: Double, bytesPerStep: Int,
        hasTeacher: Bool = false
    ) throws {
        let (config, world) = (context.config, context.communicator)
        // A backward pass through all weights takes two products for each of the forward pass.
        let forward = LlamaCost(inputs.folder.configuration).forward(
            sequences: config.training.batchSize, length: config.data.sequenceLength)
        let memory = try world.allGather(Int64(RunSummary.peakMemoryBytes)).map { Int($0) }
        let peaks = try world.allGather(peak)
        var summary = RunSummary(
            job: job, model: inputs.folder.path, seed: config.training.seed, worldSize: world.size, dataParallel: world.size,
            pipelineParallel: 1, steps: config.training.steps, seconds: seconds, secondsPerStep: record.secondsPerStep,
            tokensPerStep: config.training.batchSize * config.data.sequenceLength, peakMemoryBytesPerRank: memory,
            bytesSentPerStep: bytesPerStep, flopsPerStep: forward * (hasTeacher ? 4 : 3),
            gemmPeakFlops: peaks.reduce(0, +) / Double(peaks.count))
        summary.results = results
        try world.agree { try context.folder.write(summary) }
        context.reporter.note("\n" + table.text)
        context.reporter.note(
            "\n\(Int(Double(summary.tokensPerStep) / summary.secondsPerStep)) tokens/s; results in \(context.folder.path)")
    }
}

extension TrainingLoop.Record {
    var loss: JSONValue { ["first": .double(firstLoss), "last": .double(lastLoss)] }
}
