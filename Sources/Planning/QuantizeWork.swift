internal import Calibration
internal import Configuration
internal import Models
internal import Quantization

/// What `quantize`, and `rotate` before its steps, compute besides passes of the network over the evaluation windows.
struct QuantizeWork {
    private let workload: Workload
    private let cost: ModelCost
    private var config: RunConfig { workload.config }

    init(_ workload: Workload) {
        self.workload = workload
        cost = ModelCost(workload.shape)
    }

    private var searchesAll: Bool { config.quantize.recipe == .auto }
    /// Ways to transform the network that are calibrated.
    private var transforms: Double { searchesAll ? 3 : 1 }
    private var calibrated: Double { Double(workload.calibration.calibrated * workload.length) }
    /// The share of the calibration text that the replica with most sequences has: replicas take sequences in turn.
    func share(_ replicas: Int) -> Double { workload.calibration.calibrated.largestShare(replicas) }

    /// Work on the layers of a stage that is done once in the job.
    ///
    /// - Returns: `alike`, which every replica does; `divided`, the sum over the replicas of what they divide; and `inTurn`,
    ///   the work of one replica during which the other stages wait, since stages calibrate one after the other.
    func once(_ part: StagePart, replicas: Int) -> (alike: Work, divided: Work, inTurn: Work) {
        let linears = part.blocks.reduce(0) { $0 + Double(cost[$1].linears) }
        // The row of plain rounding, and for each transform the methods that need no statistics of inputs.
        let methods = workload.quantizations
        let rounded = 1 + transforms * Double(methods.count { $0.inputs == nil })
        let alike = Work(searches: isSearched ? rounded * linears : 0)
        var (divided, inTurn) = (Work(), Work())
        if searchesAll {
            // Two networks for each recipe.
            let windows = Double(workload.calibration.compared * workload.length)
            divided.products += transforms * Double(methods.count) * 2 * windows * 2 * linears
        }
        for method in methods where method.inputs != nil {
            for block in part.blocks { inTurn = inTurn + calibrating(method, block, replicas: replicas) }
        }
        if config.quantizeTransforms.contains(.balance) { inTurn = inTurn + share(replicas) * balancing(part) }
        // The largest values of the inputs' channels.
        if config.quantizeTransforms.contains(.smoothquant) {
            for block in part.blocks { inTurn = inTurn + share(replicas) * pass(block) }
        }
        return (alike, divided, inTurn)
    }

    /// Balancing channels on the calibration text: a pass, and the second moment at each hook point.
    func balancing(_ part: StagePart) -> Work {
        part.blocks.reduce(Work()) { sum, index in
            let widths = Set(workload.shape.blocks[index].linears.map(\.ports.reads)).map {
                Double(workload.shape.blocks[index].width($0))
            }
            return sum + pass(index) + Work(products: widths.reduce(0) { $0 + calibrated * $1 * $1 })
        }
    }

    private var granularity: QuantizerGranularity { config.quantization.weights.granularity }
    private var isSearched: Bool { config.quantization.weights.clip == .search }

    /// Work of one replica to calibrate a block: the second moments of the inputs at each hook point (half a product), the
    /// passes of the block that they need, and the work of the method. Each replica repeats a part of the latter; the rest is
    /// divided by rows.
    private func calibrating(_ method: any WeightQuantization, _ index: Int, replicas: Int) -> Work {
        let block = workload.shape.blocks[index]
        let widths = Dictionary(grouping: block.linears, by: { $0.ports.reads }).values.map { layers in
            (columns: layers[0].spec.shape[1], rows: layers.reduce(0) { $0 + $1.spec.shape[0] })
        }
        // The full-precision network runs, too, where inputs are compared with its own.
        let compares = method.inputs == .deviation
        var (alike, byRow) = (Work(), Work())
        let points = Set(block.linears.map(\.ports.reads))
        var byWindow = passes(index, gathering: points) * (compares ? 2 : 1) * pass(index)
        for (columns, rows) in widths {
            let cost = method.cost(rows: rows, columns: columns, granularity)
            if let read = method.inputs, read != .channels { byWindow = byWindow + (compares ? 3 : 1) * moments(columns) }
            byRow = byRow + Work(products: cost.products, searches: isSearched ? Double(rows * columns) : 0)
            alike.solves += cost.solves
        }
        return transforms * (alike + share(replicas) * byWindow + 1 / Double(replicas) * byRow)
    }

    /// Passes of the calibration text through a block, in whole ones: for each of the points where inputs are gathered one that
    /// ends there, and one for the block's outputs.
    func passes(_ index: Int, gathering points: Set<HookPoint>) -> Double {
        guard config.calibration.mode == .sequential else { return 1 }
        let linears = workload.shape.blocks[index].linears
        let all = linears.reduce(0) { $0 + Double($1.spec.count) }
        var (passes, before, gathered) = (1.0, 0.0, Set<HookPoint>())
        for linear in linears {
            if points.contains(linear.ports.reads), gathered.insert(linear.ports.reads).inserted { passes += before / all }
            before += Double(linear.spec.count)
        }
        return passes
    }

    /// Summing the second moments of inputs of width `width`.
    func moments(_ width: Int) -> Work { Work(products: calibrated * Double(width * width)) }

    /// One pass of the calibration text through a block.
    func pass(_ index: Int) -> Work {
        let together = workload.windowsOfPass
        return Double(workload.calibration.calibrated) / Double(together) * cost.pass(workload, index, sequences: together)
    }
}

extension Workload {
    /// Sequences that pass a block together in a calibration.
    var windowsOfPass: Int { max(1, min(CalibrationPass.windows(length: length), calibration.calibrated)) }
}
