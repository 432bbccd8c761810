internal import Autograd
internal import Calibration
internal import Collectives
internal import Datasets
internal import Evaluation
internal import LinearAlgebra
internal import Models
internal import Parallelism
internal import Quantization
internal import Rotation
internal import Support
internal import TensorCore

/// The inputs of a stage's rotated quantizers in the full-precision network, before rotation, on some text. Objectives without
/// a backward pass need nothing else.
///
/// Each replica has its own windows, and each stage the sites of its blocks.
struct StoredRows {
    /// One quantizer's input.
    struct Site {
        let point: HookPoint
        let block: Int
        let layer: Int
        /// Number of a token's vectors that R2 rotates alike; nil where R1 rotates the token.
        let heads: Int?
        let loss: RowLoss
        /// Weight of a row's loss, which makes sites with different bits comparable.
        let weight: Double
        /// Values of a token, in rows of n.
        let width: Int
    }

    private let sites: [Site]
    /// For each site its windows, `[tokens·heads, n]`, each row with a root mean square of 1.
    private let rows: WindowActivations
    /// Places in the text of this replica's windows.
    private let own: [Int]
    /// Windows of all replicas.
    private let windowCount: Int
    private let length: Int
    /// Tokens of a window in a step.
    private let tokens: Int
    private let seed: UInt64
    /// Sites of the whole model; the loss is the mean over them.
    private let siteCount: Int
    private let blockCount: Int
    private let layerCount: Int

    var tokensPerStep: Int { tokens * windowCount }

    /// Runs the windows through the network once. Collective.
    ///
    /// - Parameters:
    ///   - network: this stage of the network in full precision, its norms fused.
    ///   - windows: windows of all replicas, of equal lengths.
    ///   - tokens: number of tokens that a step uses, over all windows, the same number of each.
    ///   - storage: where the rows are kept.
    init(
        _ network: Network<QuantizedHooks>, _ rotations: Rotations, _ settings: RotationLearner.Settings, windows: [[Int32]],
        tokens: Int, in storage: ActivationStorage, _ groups: ParallelGroups<some Communicator>
    ) throws {
        guard let length = windows.first?.count else { throw EvaluationError.noWindows }
        let architecture = network.model.architecture
        let own = windows.indices.filter { $0 % groups.dims.data == groups.replica }
        (self.own, self.length, windowCount, seed) = (own, length, windows.count, settings.seed)
        self.tokens = RotationObjective.tokens(tokens, ofEach: windows.count, length: length)
        (blockCount, layerCount) = (architecture.blocks.count, architecture.layerCount)
        let all = architecture.blocks.indices.flatMap { Self.sites(architecture, block: $0, rotations, settings) }
        siteCount = all.count
        sites = all.filter { network.parameters.blockRange.contains($0.block) }
        let (count, values) = (sites.count * own.count, length * (sites.map(\.width).max() ?? 0))
        rows = try groups.world.agree { try WindowActivations(count: count, values: values, in: storage) }
        let store = RowStore(sites, rows, windows: own.count)
        let recording = Network(
            model: network.model, parameters: network.parameters, hooks: StoringHooks(base: network.hooks, store: store))
        try stream(own.map { windows[$0] }, through: [recording.outputs], hidden: architecture.hiddenSize, groups) { _, _ in }
        try groups.world.agree { if let failure = store.failure { throw failure } }
    }

    /// The sites of a block that are quantized and rotated.
    private static func sites(
        _ architecture: Architecture, block: Int, _ rotations: Rotations, _ settings: RotationLearner.Settings
    ) -> [Site] {
        let (shape, quantization) = (architecture.blocks[block], settings.quantization)
        func site(_ point: HookPoint, heads: Int?) -> Site? {
            guard let quantizer = quantization[point], let loss = settings.objective.rowLoss(quantizer), shape.width(point) > 0
            else { return nil }
            return Site(
                point: point, block: block, layer: shape.layer, heads: heads, loss: loss, weight: loss.weight(quantizer),
                width: shape.width(point))
        }
        var result: [Site?] = []
        if rotations.r1 != nil { result += shape.residualInputs.map { site($0, heads: nil) } }
        if rotations.r2 != nil, let heads = shape.heads {
            result.append(site(.value, heads: heads.keyValue))
            result.append(site(.outputInput, heads: heads.query))
        }
        return result.compactMap(\.self)
    }

    /// Adds this stage's and this replica's share of a step's gradients, and returns its share of the loss, by block of the
    /// model. The loss is the mean over all sites of the mean over a step's rows.
    ///
    /// - Throws: `FileError` where rows are in a file that cannot be read.
    func accumulate(
        step: Int, _ rotations: Rotations, r1 r1Gradients: [Int: RotationGradient], r2 r2Gradients: [Int: RotationGradient]
    ) throws(FileError) -> [Double] {
        var losses = [Double](repeating: 0, count: blockCount)
        let chosen = own.map { chosenTokens(step: step, window: $0) }
        for (index, site) in sites.enumerated() {
            let isR1 = site.heads == nil
            guard let rotation = isR1 ? rotations.r1 : rotations.r2?[site.layer],
                let gradient = (isR1 ? r1Gradients : r2Gradients)[site.block], !own.isEmpty
            else { continue }
            let rows = Double(tokens * windowCount * (site.heads ?? 1))
            losses[site.block] += site.loss.add(
                matmul(try gathered(index, chosen), .asStored, rotation), weight: site.weight / (rows * Double(siteCount)),
                to: gradient)
        }
        return losses
    }

    /// This replica's and this stage's share of the losses of some rotations on a step's rows: that of R1, then that of each
    /// R2.
    ///
    /// - Throws: as ``accumulate(step:_:r1:r2:)``.
    func losses(step: Int, _ rotations: Rotations) throws(FileError) -> [Double] {
        var result = [Double](repeating: 0, count: 1 + layerCount)
        let chosen = own.map { chosenTokens(step: step, window: $0) }
        for (index, site) in sites.enumerated() where !own.isEmpty {
            guard let rotation = site.heads == nil ? rotations.r1 : rotations.r2?[site.layer] else { continue }
            let rows = Double(tokens * windowCount * (site.heads ?? 1))
            result[site.heads == nil ? 0 : 1 + site.layer] +=
                site.weight / rows * site.loss.loss(matmul(try gathered(index, chosen), .asStored, rotation))
        }
        return result
    }

    /// One token from each of equally long parts of a window, the same for any number of ranks.
    private func chosenTokens(step: Int, window: Int) -> [Int] {
        guard tokens < length else { return Array(0..<length) }
        var random = RandomStream(seed: seed, stream: SeedStream.storedTokens + UInt64(window))
        random.position = UInt64(step) &* UInt64(tokens)
        return (0..<tokens).map { stretch in
            let (first, end) = (stretch * length / tokens, (stretch + 1) * length / tokens)
            return first + Int(random.next().multipliedFullWidth(by: UInt64(end - first)).high)
        }
    }

    /// - Parameter chosen: tokens of each window.
    private func gathered(_ site: Int, _ chosen: [[Int]]) throws(FileError) -> Tensor {
        let (heads, width) = (sites[site].heads ?? 1, sites[site].width)
        var result = Tensor(uninitialized: [chosen.count * tokens * heads, width / heads])
        var target = result.mutablePointer
        for (window, tokens) in chosen.enumerated() {
            try rows.copy(tokens, of: site * own.count + window, count: width, to: target)
            target += tokens.count * width
        }
        return result
    }
}

extension RotationObjective {
    /// The loss of rows for this quantizer; nil where the objective does not look at rows.
    func rowLoss(_ quantizer: QuantizerSpec) -> RowLoss? {
        switch self {
        case .crossEntropy, .divergence, .weights: nil
        case .range: .range(symmetric: quantizer.symmetric, includesZero: quantizer.includesZero)
        case .whip: .whip
        case .kurtosis: .kurtosis
        }
    }
}

extension RowLoss {
    /// The factor from the squared range to the variance of the rounding error, in units of the row's mean square.
    fileprivate func weight(_ quantizer: QuantizerSpec) -> Double {
        guard case .range = self else { return 1 }
        let ratio = Double(quantizer.clipRatio) / quantizer.steps
        return ratio * ratio / 12
    }
}

/// Where the hooks of one pass store their values.
private final class RowStore {
    private let sites: [StoredRows.Site]
    private let rows: WindowActivations
    private let windows: Int
    /// Windows that each site has seen.
    private var seen: [Int]
    /// The first error, after which nothing is stored.
    private(set) var failure: FileError?

    init(_ sites: [StoredRows.Site], _ rows: WindowActivations, windows: Int) {
        (self.sites, self.rows, self.windows) = (sites, rows, windows)
        seen = [Int](repeating: 0, count: sites.count)
    }

    func add(_ x: Tensor, at point: HookPoint, block: Int?) {
        guard failure == nil, let index = sites.firstIndex(where: { $0.point == point && $0.block == block }) else { return }
        let heads = sites[index].heads ?? 1
        do throws(FileError) {
            try rows.set(
                index * windows + seen[index], x.reshaped([x.rows * heads, x.columns / heads]).normalizedRows())
        } catch {
            failure = error
        }
        seen[index] += 1
    }
}

private struct StoringHooks: HookTransform {
    let base: QuantizedHooks
    let store: RowStore

    func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
        store.add(x.value, at: point, block: block)
        return base.transform(x, at: point, block: block, on: tape)
    }
}
