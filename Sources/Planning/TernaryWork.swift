internal import Configuration
internal import Glibc
internal import Models
internal import TernarySVD

/// Costs of the parts of a decomposition, in written values, and the relative speed of its small products and factorizations.
/// Measured once: Benchmarks/plan.md.
private enum TernaryRates {
    /// A sixteenth for each addition; a fifth of the entries are not 0.
    static let sum = 1.0 / (5 * 16)
    /// An entry that is examined and written in two orders.
    static let entry = 10.0
    static let word = 2.4
    static let projection = 75.0
    static let copy = 3.0
    /// Scales of rows and columns, for a weight.
    static let balance = 60.0
    /// An entry of U or V that is encoded and written to its layer's file.
    static let packed = 150.0
    /// A weight's digits, drafts included.
    static let digit = 2300.0
    /// An entry of U or V in one round of the descent in the norm of a layer's outputs.
    static let reconsidered = 60.0
    /// An entry of U or V, of which a fifth are not 0, for sixteen tokens.
    static let applied = 0.45
    /// An entry that is decoded from a file and packed.
    static let decoded = 34.0
    static let narrow = 2.75
    static let reduction = 1.6
    static let basis = 6.0
    static let decomposition = 1.15
}

/// What ternary layers cost: decomposing them, the transitions of training, and the bus that carries these.
///
/// The number of components of a layer, and how often their entries are examined, depend on the weights. The numbers here come
/// from two trained models (Benchmarks/plan.md); single layers take from half to twice as much.
struct TernaryWork {
    /// A linear of a block that becomes ternary, U `[rows, components]` and V `[components, columns]`.
    struct Layer {
        let name: String
        let block: Int
        let reads: HookPoint?
        let rows: Double, columns: Double, components: Double

        var weights: Double { rows * columns }
        /// Entries of U and V.
        var entries: Double { components * (rows + columns) }
        /// Additions of U·diag(s)·V if no entry were 0.
        var sums: Double { components * rows * columns }
    }

    private let workload: Workload
    private var settings: TernarySettings { workload.config.ternary }
    private var options: TernaryOptions { settings.options(seed: workload.config.training.seed) }

    init(_ workload: Workload) { self.workload = workload }

    /// The ternary layers of a stage, in the model's order.
    func layers(_ part: StagePart) -> [Layer] {
        guard workload.isTernary || workload.scoresFactors else { return [] }
        return part.blocks.flatMap { index -> [Layer] in
            let block = workload.shape.blocks[index]
            return block.linears.compactMap { linear in
                let name = block.prefix + String(linear.spec.name.dropLast(".weight".count))
                guard settings.layers.matches(name) else { return nil }
                let (rows, columns) = (Double(linear.spec.shape[0]), Double(linear.spec.shape[1]))
                return Layer(
                    name: name, block: index, reads: linear.ports.reads, rows: rows, columns: columns,
                    components: components(rows, columns))
            }
        }
    }

    /// `halving`: the number of components, in units of √(m·n), that halves a trained layer's error. `knee`: the error below
    /// which this holds; above it a few single directions dominate, which need few components. Both are means over layers. In
    /// layers that are not balanced more directions dominate; without refinement layers need more components.
    private var decay: (halving: Double, knee: Double) {
        let more = options.refines ? 1 : 1.3
        return options.balances ? (0.717 * more, 0.4) : (0.44 * more, 0.355)
    }

    /// Components of a layer whose error is within the tolerance.
    private func components(_ rows: Double, _ columns: Double) -> Double {
        let (halving, knee) = decay
        let halvings = log2(1 + pow(knee / settings.tolerance, 3)) / 3
        return max(1, (halving * halvings * (rows * columns).squareRoot()).rounded())
    }

    /// Ternary digits of a weight with `ternary.bits`: those of the largest numbers, which are about four times the standard
    /// deviation σ that corresponds to these bits (log₂(4.13·σ)). nil where a tolerance decides.
    var digits: Double? {
        settings.bits.map { bits in (log2(1 + 2 * exp2(bits)) / log2(3)).rounded(.up) }
    }

    /// Entries of U and V, of components or of columns of digits.
    func entries(_ layer: Layer) -> Double {
        digits.map { $0 * layer.columns * (layer.rows + layer.columns) } ?? layer.entries
    }

    // MARK: Computing

    /// The first factors: balancing, the rounds, packing and writing the file.
    private func decomposition(_ layer: Layer) -> Work {
        let cost = options.cost(rows: Int(layer.rows), columns: Int(layer.columns), components: Int(layer.components))
        typealias Rates = TernaryRates
        var work = Work(products: Rates.narrow * cost.products)
        work.solves = cost.solves + Rates.decomposition * cost.decompositions
        work.solves += Rates.reduction * cost.reductions + Rates.basis * cost.bases
        work.values = Rates.sum * cost.sums + Rates.entry * cost.entries + Rates.word * cost.words
        work.values += Rates.projection * cost.projections + Rates.copy * cost.copies
        work.values += Rates.balance * layer.weights + Rates.packed * layer.entries
        return work
    }

    /// Scales by least squares: the right-hand side, and for a share of refreshes both sides' Gram matrices, half of each, and
    /// a factorization.
    private func refresh(_ layer: Layer, factored: Double) -> Work {
        let k = layer.components
        return Work(
            products: 2 * layer.sums + factored * k * layer.entries, solves: factored * k * k * k / 3,
            values: 8 * layer.entries)
    }

    /// Values of the factors of scales' equations that an owner keeps from one refresh to the next: all of them, and how many
    /// there is room for.
    private func factors(_ layers: [Layer], _ replicas: Int) -> (all: Double, kept: Double) {
        let all = layers.reduce(0) { $0 + $1.components * $1.components } / Double(owners(layers, replicas))
        return (all, min(all, Double(LayerTransition.mostFactors) * layers.reduce(0) { $0 + $1.weights }))
    }

    /// Values of the factors of scales' equations that an owner keeps from one refresh to the next.
    func keptFactors(_ part: StagePart, replicas: Int) -> Double {
        guard workload.job == .qat, settings.mode == .default, adaptationShare < 1 else { return 0 }
        return factors(layers(part), replicas).kept
    }

    /// The share of refreshes that find no factor kept: the first after each adaptation, and those of layers without room.
    private func factored(_ layers: [Layer], _ replicas: Int) -> Double {
        let every = adaptationShare
        guard settings.mode == .default, every < 1 else { return 1 }
        let (all, kept) = factors(layers, replicas)
        let first = min(1, every / (1 - every))
        return all > 0 ? first + (1 - first) * (1 - kept / all) : 1
    }

    /// Coordinate descent over the entries of U and V.
    private func adaptation(_ layer: Layer) -> Work { Work(values: 240 * layer.entries) }

    /// Work of every rank for a transition: W and ρ from the factors, at a sixteenth of a written value for each addition (a
    /// fifth of the entries are not 0), and digests.
    private func application(_ layer: Layer) -> Work { Work(values: TernaryRates.sum * layer.sums + 4 * layer.weights) }

    /// Work of a stage in a training step: `own`, of the owner with the most work, and `alike`, which all replicas repeat. In
    /// `ptq`: of the replica with the most decompositions.
    func step(_ part: StagePart, replicas: Int) -> (own: Work, alike: Work) {
        let layers = layers(part)
        guard workload.job == .qat else {
            // With `ternary.bits` nothing is decomposed to a tolerance.
            guard settings.bits == nil else { return (Work(), Work()) }
            let owners = GreedyDispatch.owners(
                layers: layers.map { ($0.name, Int($0.weights)) }, ranks: owners(layers, replicas))
            return (busiest(layers, owners, decomposition) { Int($0.weights) }, Work())
        }
        let largestFirst = layers.sorted { $0.entries > $1.entries }
        func owner(_ work: (Layer) -> Work) -> Work { busiest(largestFirst, replicas, work) { Int($0.entries) } }
        let every = adaptationShare
        let factored = factored(layers, replicas)
        let own = (1 - every) * owner { refresh($0, factored: factored) } + every * owner(adaptation)
        return (own, layers.reduce(Work()) { $0 + application($1) })
    }

    /// The same for each block, if all replicas had equal work.
    func blocks(replicas: Int) -> [Work] {
        var decompositions: [[Double]: Work] = [:]
        func first(_ layer: Layer) -> Work {
            let shape = [layer.rows, layer.columns]
            let work = decompositions[shape] ?? decomposition(layer)
            decompositions[shape] = work
            return work
        }
        let every = adaptationShare
        return workload.shape.blocks.indices.map { block in
            let layers = layers(StagePart(blocks: block..<block + 1, isFirst: false, isLast: false))
            let factored = factored(layers, replicas)
            return layers.reduce(Work()) { sum, layer in
                guard workload.job == .qat else { return sum + first(layer) }
                let own = (1 - every) * refresh(layer, factored: factored) + every * adaptation(layer)
                return sum + 1 / Double(replicas) * own + application(layer)
            }
        }
    }

    /// `ptq` with `ternary.weighting`: passes of the calibration text, the second moments at the hook points that ternary
    /// layers read, and their descent or their digits, which the replicas divide hook point by hook point.
    func calibration(_ part: StagePart, replicas: Int) -> Work {
        guard settings.weighting != .none else { return Work() }
        let (network, layers) = (QuantizeWork(workload), Dictionary(grouping: layers(part), by: \.block))
        return part.blocks.reduce(Work()) { sum, index in
            let points = Dictionary(grouping: layers[index] ?? [], by: \.reads).values
            // Drafts of digits are made on the unchanged network.
            let read = Set((layers[index] ?? []).compactMap(\.reads))
            let passes = network.passes(index, gathering: read) + (settings.bits == nil ? 0 : 1)
            let moments = points.reduce(Work()) { $0 + network.moments(Int($1[0].columns)) }
            return points.reduce(sum + network.share(replicas) * (passes * network.pass(index) + moments)) { sum, layers in
                let perWeight = settings.bits != nil
                return sum
                    + busiest(layers, replicas) {
                        perWeight ? Work(values: TernaryRates.digit * $0.weights) : descent($0)
                    } size: {
                        Int($0.weights)
                    }
            }
        }
    }

    /// All rounds of a descent in the norm of the layer's outputs.
    private func descent(_ layer: Layer) -> Work {
        let cost = WeightedDescent.roundCost(
            rows: Int(layer.rows), columns: Int(layer.columns), components: Int(layer.components))
        return Double(WeightedDescent.rounds)
            * Work(products: cost.products, solves: cost.solves, values: TernaryRates.reconsidered * layer.entries)
    }

    /// The first decomposition of ternary training.
    func beginning(_ part: StagePart, replicas: Int) -> Work {
        guard settings.path == nil else { return Work() }
        return busiest(layers(part).sorted { $0.weights > $1.weights }, replicas, decomposition) { Int($0.weights) }
    }

    /// Reading given factors from their file.
    func reading(_ part: StagePart) -> Work {
        guard settings.path != nil else { return Work() }
        return Work(values: TernaryRates.decoded * layers(part).reduce(0) { $0 + $1.entries })
    }

    /// The change in the work of a pass through a stage where factors replace the layers: additions, sixteen tokens at a time,
    /// instead of products.
    func running(_ part: StagePart, tokens: Double, passes: Double = 1) -> Work {
        let weight = ModelCost(workload.shape).valuesOfAWeight
        return layers(part).reduce(Work()) { sum, layer in
            sum + tokens * Work(products: -2 * layer.weights, values: TernaryRates.applied / 16 * layer.entries)
                + Work(values: -passes * weight * layer.weights)
        }
    }

    /// Measuring the error of each layer's factors, which training does for its reports.
    func reporting(_ part: StagePart) -> Work { Work(values: 0.5 * layers(part).reduce(0) { $0 + $1.sums }) }

    /// The share of steps in which U and V are adapted to the weights.
    private var adaptationShare: Double {
        settings.adaptEvery > 0 && settings.mode == .default ? 1 / Double(settings.adaptEvery) : 0
    }

    /// The work of the owner with the most, with layers dealt as the run deals them.
    private func busiest(_ layers: [Layer], _ replicas: Int, _ work: (Layer) -> Work, size: (Layer) -> Int) -> Work {
        let owners = GreedyDispatch.owners(sizes: layers.map(size), ranks: owners(layers, replicas))
        return busiest(layers, owners, work, size: size)
    }

    /// The number of replicas that own layers: no more than there are layers.
    private func owners(_ layers: [Layer], _ replicas: Int) -> Int { max(1, min(replicas, layers.count)) }

    private func busiest(
        _ layers: [Layer], _ owners: [Int], _ work: (Layer) -> Work, size: (Layer) -> Int
    ) -> Work {
        let (sizes, count) = (layers.map(size), 1 + (owners.max() ?? 0))
        var (totals, works) = ([Int](repeating: 0, count: count), [Work](repeating: Work(), count: count))
        for (number, owner) in owners.enumerated() {
            totals[owner] += sizes[number]
            works[owner] = works[owner] + work(layers[number])
        }
        return totals.indices.max { totals[$0] < totals[$1] }.map { works[$0] } ?? Work()
    }

    // MARK: The bus

    /// Average bytes of a stage's transitions in a step: four for a scale, half a bit for an entry where U and V are new, and
    /// some for headers.
    func publishedBytes(_ part: StagePart) -> Double {
        guard workload.job == .qat else { return 0 }
        return layers(part).reduce(0) { $0 + 110 + 4 * $1.components + adaptationShare * $1.entries / 16 }
    }
}
