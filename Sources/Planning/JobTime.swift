internal import Configuration
internal import Models
internal import Rotation

/// What a job does besides its steps, for the time the whole of it takes: sequences that the model draws, evaluations before
/// and after, and the first decomposition of a ternary training. Reading and writing files is not counted.
struct JobTime {
    private let workload: Workload
    private let evaluation: Workload
    private let decomposition: Workload?
    /// Of the rotations that `quantize` learns itself.
    private let learning: Workload?

    init(_ workload: Workload) {
        self.workload = workload
        evaluation = Workload(.eval, workload.config, workload.shape)
        learning = Self.learning(workload)
        decomposition = workload.job == .qat && workload.isTernary ? Workload(.ptq, workload.config, workload.shape) : nil
    }

    /// Seconds of the job with steps as planned.
    func seconds(_ planned: PlannedLayout, on cluster: Cluster) -> Double {
        let layout = planned.layout
        func step(_ workload: Workload) -> Double {
            let share = (workload.sequences + layout.data - 1) / layout.data
            let whole = Layout(data: layout.data, pipeline: layout.pipeline, microbatches: share)
            return Planner(workload, cluster).seconds(whole)
        }
        let pass = step(evaluation) / Double(evaluation.passes)
        let learned = learning.map { Double($0.steps) * step($0) } ?? 0
        let outside = passes * pass + (decomposition.map(step) ?? 0) + learned + rounding(planned).seconds(on: cluster)
        return Double(workload.steps) * planned.secondsPerStep + outside
    }

    private static func learning(_ workload: Workload) -> Workload? {
        var config = workload.config
        let learns = config.quantize.recipe == .auto || config.quantize.transform == .learned
        guard workload.job == .quantize, learns, config.rotation.path == nil else { return nil }
        (config.rotation.r1, config.rotation.r2) = (.learned, .learned)
        config.rotation.objective = config.roundsTurnedActivations ? .range : .weights
        config.training.steps = config.quantize.learningSteps
        return Workload(.rotate, config, workload.shape)
    }

    /// Forward passes over the windows of the evaluation outside the steps, drawing counted as one over as many sequences.
    private var passes: Double {
        let data = workload.config.data
        var drawn = data.eval.path == nil ? 1.0 : 0
        if workload.learns, data.train.path == nil { drawn += Double(data.sampledSequences) / Double(evaluation.sequences) }
        switch workload.job {
        // Full precision alone; beside it rounded, with Hadamard rotations and with learned ones.
        case .rotate: return drawn + 7
        case .train: return drawn + 2
        // Full precision alone; beside it before and after. Those of the first decomposition are in its own time.
        case .qat: return drawn + (workload.isTernary ? 3 : 5)
        case .ptq, .quantize, .eval: return drawn
        }
    }

    /// Rounding all weights of the stage with most layers, once for each row of the job's table that is rounded.
    private func rounding(_ planned: PlannedLayout) -> Work {
        guard workload.config.quantization.weights.bits < 16 else { return Work() }
        let rows =
            switch workload.job {
            case .rotate: 3.0
            case .eval: workload.config.rotation.path == nil ? 1.0 : 2
            case .qat: workload.isTernary ? 0.0 : 2
            case .train, .ptq, .quantize: 0.0
            }
        let cost = ModelCost(workload.shape)
        let linears = planned.stages.map { stage in stage.reduce(0) { $0 + cost[$1].linears } }
        return Work(searches: rows * Double(linears.max() ?? 0))
    }
}
