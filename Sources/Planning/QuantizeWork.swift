internal import Calibration
internal import Configuration
internal import Models

/// What `quantize` computes besides passes of the network over the evaluation windows.
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
    private var calibrated: Double { Double(config.calibration.sequences * workload.length) }

    /// Of a stage's layers: what every replica does, and what they divide.
    func once(_ part: StagePart) -> (alike: Work, divided: Work) {
        let linears = part.layers.reduce(0) { $0 + Double(cost[$1].linears) }
        // The row of plain rounding, and rounding to nearest of each transform.
        let rounded = 1 + (workload.calibrates && !searchesAll ? 0 : transforms)
        var (alike, divided) = (Work(searches: isSearched ? rounded * linears : 0), Work())
        if searchesAll {
            // Two networks for each of six recipes.
            let windows = Double(config.quantize.heldOut * workload.length)
            divided.products += 12 * windows * 2 * linears
        }
        if config.quantize.balance {
            for index in part.layers {
                let widths = Set(workload.shape.blocks[index].linears.map(\.ports.reads)).map {
                    Double(workload.shape.blocks[index].width($0))
                }
                divided = divided + pass(index)
                divided.products += widths.reduce(0) { $0 + calibrated * $1 * $1 }
            }
        }
        guard workload.calibrates else { return (alike, divided) }
        for block in part.layers { add(block, to: &alike, &divided) }
        return (alike, divided)
    }

    private var isSearched: Bool { config.quantization.weights.clip == .search }

    /// GPTQ of a block: the second moments of the inputs at each hook point (half a product), passes of the block to get at them,
    /// the inverse's factor (n³ in double precision), and per row a product with half of it.
    private func add(_ index: Int, to alike: inout Work, _ divided: inout Work) {
        let block = workload.shape.blocks[index]
        let widths = Dictionary(grouping: block.linears, by: { $0.ports.reads }).values.map { layers in
            (inputs: Double(layers[0].spec.shape[1]), rows: Double(layers.reduce(0) { $0 + $1.spec.shape[0] }))
        }
        let passes = config.calibration.mode == .sequential ? Double(widths.count) + 1 : 1
        divided = divided + (transforms * passes) * pass(index)
        for (n, rows) in widths {
            divided =
                divided + transforms * Work(products: calibrated * n * n + rows * n * n, searches: isSearched ? rows * n : 0)
            alike.solves += transforms * n * n * n
        }
    }

    /// The calibration text through a block.
    private func pass(_ index: Int) -> Work {
        Work(
            products: 2 * calibrated * Double(cost[index].linears)
                + 2 * cost[index].attention(sequences: config.calibration.sequences, length: workload.length),
            values: calibrated * cost[index].values(length: workload.length))
    }
}
