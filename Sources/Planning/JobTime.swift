internal import Configuration
internal import Datasets
internal import Models
internal import Rotation

/// The work of a job besides its steps, for the time of the whole job: files, sequences that the model draws, evaluations
/// before and after, weights rotated and rounded for these, and the first decomposition of ternary training.
struct JobTime {
    private let workload: Workload
    let evaluation: Workload
    /// The learning of rotations outside the job's own steps.
    private let learning: Workload?
    private let cost: ModelCost
    private let rotation: RotationCost

    init(_ workload: Workload) {
        self.workload = workload
        // Only the network counts here, whatever else is given to score.
        var config = workload.config
        (config.ternary.path, config.eval.trained) = (nil, nil)
        evaluation = Workload(.eval, config, workload.shape).part(of: workload)
        learning = workload.learning
        cost = ModelCost(workload.shape)
        rotation = RotationCost(workload.shape, workload.rotationPlan(replicas: 1))
    }

    /// Seconds of the job with steps as planned.
    func seconds(_ planned: PlannedLayout, on cluster: Cluster) -> Double {
        let layout = planned.layout
        func step(_ workload: Workload) -> Double {
            let share = (workload.sequences + layout.data - 1) / layout.data
            let whole = Layout(data: layout.data, pipeline: layout.pipeline, microbatches: share)
            return Planner(workload, cluster).seconds(whole)
        }
        let parts = workload.parts(layout)
        func time(_ work: Work) -> Double { work.seconds(on: cluster) * cluster.threadsPerCore }
        /// Seconds of the stage that takes longest.
        func longest(_ work: (StagePart) -> Work) -> Double { parts.map { time(work($0)) }.max() ?? 0 }
        var seconds = CalibratedRates.secondsOfStart + longest(files) + Double(workload.steps) * planned.secondsPerStep
        seconds += passes / Double(evaluation.passes) * step(evaluation)
        seconds += drawing(parts, replicas: layout.data, on: cluster)
        seconds += longest { rounding($0) + rotating($0) }
        let before = StageWork(learning ?? workload, sequences: 1, replicas: layout.data)
        seconds += longest { before.beforeSteps($0).own }
        seconds += parts.reduce(0) { $0 + time(before.beforeSteps($1).inTurn) }
        if let learning { seconds += Double(learning.steps) * step(learning) }
        if workload.job == .qat {
            let ternary = TernaryWork(workload)
            let windows = Double(evaluation.sequences) / Double(layout.data)
            // Before the first step, after the last one, and for the written file, which is scored.
            seconds += longest {
                ternary.beginning($0, replicas: layout.data) + 3 * ternary.reporting($0)
                    + ternary.running($0, tokens: windows * Double(workload.length), passes: windows)
            }
        }
        // Every rank reads the factors of all stages.
        seconds += parts.reduce(0) { $0 + time(TernaryWork(workload).reading($1)) }
        seconds += CalibratedRates.secondsOfAByte * Double(planned.peakMemory) * cluster.threadsPerCore
        // The last checkpoint; the others are in the steps' seconds.
        return seconds + CheckpointTime(workload, parts, replicas: layout.data, on: cluster).seconds
    }

    // MARK: Evaluations

    /// Forward passes over the windows of the evaluation outside the steps.
    private var passes: Double {
        switch workload.job {
        // Full precision alone; then rounded, with norms folded, with rotations, and as written, each beside full precision.
        // Also the passes of two sequences each that check the written network, and one that is rounded to 16 bits.
        case .rotate: 7 + 2 * Double(rotatedRows) + 4 / Double(evaluation.sequences)
        // Full precision alone; then the trained network beside full precision.
        case .train: 3
        // Full precision alone; then, beside it, the network before and after, and the integers that ternary layers are
        // compared with.
        case .qat: workload.isTernary ? (workload.config.eval.compare ? 9 : 5) : 5
        case .ptq, .quantize, .eval: 0
        }
    }

    /// Rows of `rotate` with rotations: with the initial ones, if there are any, and with learned ones.
    private var rotatedRows: Int {
        workload.rotates ? workload.learnsR1 || workload.learnsR2 ? 2 : 1 : 0
    }

    /// Rounding all weights of a stage, once for each row of the job's table that is rounded.
    private func rounding(_ part: StagePart) -> Work {
        let isRounded = workload.config.quantization.weights.bits < 16
        let rows: Double
        switch workload.job {
        case .rotate: rows = isRounded ? 2 + Double(rotatedRows) : 0
        case .eval: rows = Double((isRounded ? workload.evaluated.rounded : 0) + workload.evaluated.integers)
        case .qat where workload.isTernary: rows = workload.config.eval.compare ? 2 : 0
        case .qat: rows = isRounded ? 2 : 0
        case .train, .ptq, .quantize: rows = 0
        }
        return Work(searches: rows * linears(part))
    }

    /// Rotating all weights of a stage: for the scores of two rows, for the check, for the file, and twice to measure the
    /// effect of 16 bits.
    private func rotating(_ part: StagePart) -> Work {
        guard workload.job == .rotate else { return Work() }
        let blocks = part.blocks.reduce(0) {
            $0 + rotation.weightOperations($1, r1: workload.hasR1, r2: workload.hasR2) / 2
        }
        let square = workload.hasR1 ? Double(workload.shape.hiddenSize * workload.shape.hiddenSize) : 0
        let ends = Double((part.isFirst ? 1 : 0) + (part.isLast ? 1 : 0)) * 2 * Double(workload.shape.vocabularySize) * square
        return Work(products: 6 * (blocks + ends))
    }

    private func linears(_ part: StagePart) -> Double { part.blocks.reduce(0) { $0 + Double(cost[$1].linears) } }

    // MARK: Sequences and files

    /// Reading, hashing and writing a stage's parameters. How often two bytes of each are hashed was measured for each job.
    private func files(_ part: StagePart) -> Work {
        let (digests, isWritten) =
            switch workload.job {
            case .rotate: (3.0, true)
            case .train, .qat: (1, true)
            case .ptq: (9, true)
            case .quantize: (1, false)
            case .eval: (0, false)
            }
        let values =
            CalibratedRates.valuesOfADigest * digests
            + (isWritten ? CalibratedRates.valuesOfWriting : CalibratedRates.valuesOfReading)
        return Work(values: values * workload.parameters(part))
    }

    /// Sequences that the model draws where no text is given, in chunks of sequences and token by token: each position reads
    /// all weights from memory for few rows. As many chunks as there are stages are under way at once.
    private func drawing(_ parts: [StagePart], replicas: Int, on cluster: Cluster) -> Double {
        let chunk = SampledTokens.chunk
        let positions = Double(workload.length - 1)
        return workload.drawnTexts.reduce(0) { sum, count in
            // The chunks of the first replica, which has the most, in groups that are under way at once.
            let own = stride(from: 0, to: count, by: chunk * replicas).map { min(chunk, count - $0) }
            let groups = stride(from: 0, to: own.count, by: parts.count).map { own[$0..<min($0 + parts.count, own.count)] }
            return groups.reduce(sum) { sum, group in
                let stages = parts.map { position($0, rows: Double(group.max() ?? 0)).seconds(on: cluster) }
                return sum + positions * max(stages.reduce(0, +), Double(group.count) * (stages.max() ?? 0))
            }
        } * cluster.threadsPerCore
    }

    /// One token of each sequence of a chunk. On average half of a sequence's other tokens come before it, whose keys and
    /// values are read.
    private func position(_ part: StagePart, rows: Double) -> Work {
        let head = part.isLast ? Double(cost.head) : 0
        let weights = linears(part) + head
        let cached = workload.shape.blocks[part.blocks].reduce(0) { $0 + $1.width(.key) + $1.width(.value) }
        return Work(
            products: 2 * rows * weights,
            values: cost.valuesOfAWeight * weights
                + rows * Double(workload.length) / 2 * Double(cached)
                + (part.isLast ? 3 * rows * Double(workload.shape.vocabularySize) : 0))
    }
}
