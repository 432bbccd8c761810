internal import Collectives
internal import Configuration
internal import Evaluation
internal import Models
internal import Parallelism
internal import Quantization
internal import Rotation
internal import Runs
internal import Support
internal import TensorCore
internal import Trainer

extension ScoreTable {
    /// The row of the network that rotations start from, where nothing is balanced.
    static let folded = "rtn_folded"

    /// Adds the rows of a network in full precision and rounded to nearest, as stored and, where that differs and is quantized
    /// at all, as the network that rotations start from; reports the first two. Collective.
    ///
    /// - Parameters:
    ///   - parameters: parameters of this rank's stage, as stored in the model's folder.
    ///   - plan: rounding of the weights.
    /// - Returns: the parameters that rotations start from.
    mutating func addPlain(
        _ run: LanguageModelRun<some Communicator>, _ parameters: consuming Parameters<StoredTensor>, _ base: RotationBase,
        _ plan: WeightPlan, _ recipe: QuantizationRecipe, _ windows: [[Int32]]
    ) throws -> Parameters<StoredTensor> {
        let (model, groups) = (run.model, run.context.groups)
        var network = consume parameters
        let plain = try PlainScore(model, network, plan, recipe, windows, groups)
        run.context.reporter.note(plain.line)
        let sizes = try ModelSizes(run.inputs.folder)
        let rounded = try ModelSizes(run.inputs.folder, as: run.inputs.writtenType(run.context.config))
        add(Self.fullPrecision, "full precision", .full, plain.fullPrecision, sizes.stored)
        add(RoundToNearest.name, RoundToNearest.label, bits, plain.rounded, rounded.rounded(by: plan))
        let hasGains = try groups.world.allReduce(Int64(network.hasNormGains(model.architecture) ? 1 : 0), .max) == 1
        network = base.applied(to: consume network)
        if base.isBalanced || hasGains, plan.rounds || bits.activations < 16 {
            let key = base.isBalanced ? "rtn_balanced" : Self.folded
            let label = "round to nearest, \(base.prefix)norms folded"
            let score = try recipe.score(model, network, plan, windows, groups)
            let isFolded = model.architecture.rotatability == .rotatable
            add(key, label, bits, score, (isFolded ? rounded.untied : rounded).rounded(by: plan))
        }
        return network
    }

    /// Adds a network with ternary factors as weights, and with activations and cache as the table's title says.
    mutating func addTernary(_ key: String, _ label: String, _ score: LanguageModelScore, _ size: ModelSize) {
        var bits = bits
        bits.weights = nil
        add(key, "\(label), \(size.bitsPerWeight.formatted(decimals: 2)) bits a weight", bits, score, size)
    }

    /// Adds the rows of a network with some linears rounded to 4 and to 3 bits, with which ternary factors are compared. Each
    /// row of a weight has a scale, and its range is searched for. Collective.
    ///
    /// - Parameters:
    ///   - own: the linears of this rank's stage that are rounded; `all`: those of the model.
    ///   - activations: how activations and cache are rounded in this table.
    mutating func addIntegers(
        _ own: Set<String>, of parameters: Parameters<some TensorValue>, all: Set<String>,
        _ activations: ActivationQuantization,
        _ model: Model, _ sizes: ModelSizes, _ windows: [[Int32]], _ groups: ParallelGroups<some Communicator>
    ) throws {
        for width in [4, 3] {
            let quantizer = WeightQuantizer(
                QuantizerSpec(bits: width, symmetric: true, granularity: .channel), searchesClip: true)
            let network = Network(
                model: model, parameters: parameters.rounded(by: quantizer, only: own),
                hooks: QuantizedHooks(quantization: activations))
            let score = try evaluate(network, against: model.constantNetwork(parameters), windows: windows, groups)
            var rowBits = bits
            rowBits.weights = width
            add("int\(width)", "INT\(width), round to nearest", rowBits, score, sizes.rounded(by: quantizer, only: all))
        }
    }

    /// The size of a rotated network, whose norms are folded, with linears rounded as the recipe says and the rest in the type
    /// that `rotate` writes.
    func rotatedSize(_ run: LanguageModelRun<some Communicator>, _ recipe: QuantizationRecipe) throws -> ModelSize {
        let type = try run.inputs.writtenType(run.context.config)
        return try ModelSizes(run.inputs.folder, as: type).untied.rounded(by: recipe.weights)
    }
}

extension LanguageModelRun {
    /// - Throws: ``TrainingError/deadNetwork(vocabulary:)`` on all ranks.
    func checkAlive(trained score: LanguageModelScore) throws {
        try context.communicator.agree {
            if score.isUniform { throw TrainingError.deadNetwork(vocabulary: inputs.folder.architecture.vocabularySize) }
        }
    }
}
