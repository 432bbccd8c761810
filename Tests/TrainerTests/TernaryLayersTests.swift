import Autograd
import Collectives
import EmbeddedModel
import Models
import Parallelism
import Runs
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

@testable import Configuration
@testable import Trainer

@Suite struct TernaryLayersTests {
    private let weights: ModelWeights<Tensor>

    init() throws { weights = ModelWeights(try ModelFolder(EmbeddedModel.path).parameters()) }

    private func pattern(_ text: String) throws -> LayerPattern { try #require(LayerPattern(settingText: text)) }

    @Test func `every linear layer but the head is chosen unless patterns say otherwise, in the checkpoint's order`() throws {
        let all = try weights.linears(matching: .all).map(weights.layerName)
        #expect(2 * all.count == 7 * weights.parameters.blocks.count)
        #expect(all.first == "model.layers.0.self_attn.q_proj" && !all.contains("lm_head"))
        let two = try weights.linears(matching: pattern("*.1.mlp.up_proj, *.0.self_attn.k_proj")).map(weights.layerName)
        #expect(two == ["model.layers.0.self_attn.k_proj", "model.layers.1.mlp.up_proj"])
    }

    @Test(arguments: ["*.q_proj,*.nope", "lm_head", "*.q_proj,,*.k_proj"])
    func `a pattern that names no layer is refused, also beside one that does`(_ text: String) throws {
        #expect(throws: ConfigurationError.self) { try weights.linears(matching: pattern(text)) }
    }

    @Test(arguments: [[], ["ternary.mode=reference"], ["ternary.balance=false"]])
    func `settings that are left alone are the options that are`(_ given: [String]) throws {
        let ternary = try RunConfig(assignments: given).ternary
        var options = TernaryOptions(tolerance: 0.1, mode: ternary.mode)
        if !ternary.balance { options.balance = false }
        #expect(ternary.options(seed: 0) == options)
    }

    @Test func `layers keep the tolerance, and the counts are those of the factors`() throws {
        let indices = try weights.linears(matching: pattern("model.layers.0.self_attn.*"))
        let settings = try RunConfig(assignments: ["ternary.tolerance=0.2"]).ternary
        let layers = try decompose(weights, indices, settings.options(seed: 0), over: .dataParallel(LoopbackCommunicator()))
        #expect(indices.count == 4 && layers.count == 4)
        for (index, layer) in zip(indices, layers) {
            #expect(layer.relativeError < 0.2)
            // Measured again from the packed factors: float32 singular values agree to far less than this.
            #expect(abs(try layer.factors.relativeError(weights[index]) - layer.relativeError) < 1e-4)
        }
        let report = TernaryReport(layers, of: weights.linears)
        let dense = indices.reduce(0) { $0 + weights[$1].count }
        let additions = layers.reduce(0) { $0 + $1.factors.additions }
        #expect(report.operations.additions == report.denseOperations.additions - dense + additions)
        let factors = Dictionary(uniqueKeysWithValues: layers.map { ($0.name, $0.factors) })
        #expect(LayerProfile(weights, factors, threshold: 0.8386).ternary == report.operations)
    }

    /// Factors chosen on data are not the nearest ones: a projection that took the rest for something to make up for would undo
    /// the choice before anything is learned.
    @Test func `without a step of the optimizer, given factors stay as they are`() throws {
        let config = try RunConfig(assignments: [
            "ternary.tolerance=0.3", "ternary.adapt_every=1", "ternary.layers=*.0.self_attn.*",
        ])
        let world = LoopbackCommunicator()
        var (weights, others) = (weights, weights)
        let indices = try weights.linears(matching: config.ternary.layers)
        var random = RandomStream(seed: 12)
        for index in indices {
            others[index].add(Tensor(normal: others[index].shape, deviation: 0.02, from: &random))
        }
        let made = try decompose(others, indices, config.ternary.options(seed: 0), over: .dataParallel(world))
        // Rows and columns whose mean squares are no longer 1, as the units of whole numbers have them: this is no drift.
        let given = made.map { layer in
            let s = layer.factors.s.enumerated().map { $0.element * ($0.offset % 2 == 0 ? 6 : 1) }
            return (
                layer.name,
                TernaryFactors(
                    u: layer.factors.u, s: s, v: layer.factors.v, balance: layer.factors.balance,
                    tolerance: layer.factors.tolerance)
            )
        }
        func training(_ saved: TrainingState? = nil) throws -> TernaryTraining<LoopbackCommunicator> {
            try TernaryTraining(
                weights, indices: indices, config.ternary.transition(seed: 0), config, over: world, from: saved)
        }
        let ternary = try training()
        try ternary.begin(&weights, from: Dictionary(uniqueKeysWithValues: given))
        func check() {
            for (index, (_, factors)) in zip(indices, given) {
                let scale = factors.unpacked().elements.reduce(0) { max($0, abs($1)) }
                #expect(maxDifference(weights[index], factors.unpacked()) < 1e-4 * scale)
            }
        }
        _ = try ternary.update(&weights)
        check()
        _ = try training(ternary.state).update(&weights)
        check()
    }

    @Test func `training that starts from scales of 16 bits ends with such, also resumed, and no other does`() throws {
        let config = try RunConfig(assignments: [
            "ternary.tolerance=0.3", "ternary.adapt_every=1", "ternary.layers=*.0.self_attn.*", "ternary.sparsity=2:4",
        ])
        let (world, start) = (LoopbackCommunicator(), weights)
        let indices = try start.linears(matching: config.ternary.layers)
        let options = config.ternary.options(seed: 0)
        let made = try decompose(start, indices, options, over: .dataParallel(world))
        let factors = Dictionary(uniqueKeysWithValues: made.map { ($0.name, $0.factors) })
        for isShort in [false, true] {
            var weights = start
            func training(_ saved: TrainingState? = nil) throws -> TernaryTraining<LoopbackCommunicator> {
                try TernaryTraining(
                    weights, indices: indices, config.ternary.transition(seed: 0), config, over: world, from: saved)
            }
            let ternary = try training()
            try ternary.begin(&weights, from: isShort ? factors.mapValues(\.withShortScales) : factors)
            for index in indices { weights[index].scale(by: 1.1) }
            _ = try ternary.update(&weights)
            let results = ternary.results
            #expect(results.count == 4)
            #expect(results.allSatisfy { $0.factors.hasShortScales == isShort && TernarySparsity.twoOfFour.holds($0.factors) })
            #expect(results.allSatisfy { $0.factors.sparsity == .twoOfFour })
            let resumed = try training(ternary.state).results
            #expect(resumed.map(\.factors.s) == results.map(\.factors.s))
        }
    }

    /// With a tolerance so small a layer has more components than rows and columns.
    @Test(arguments: [0.3, 0.05]) func `factors of the scales' equations are kept as far as there is room`(
        _ tolerance: Double
    ) throws {
        let config = try RunConfig(assignments: [
            "ternary.tolerance=\(tolerance)", "ternary.adapt_every=3", "ternary.layers=*.0.self_attn.*",
        ])
        var weights = weights
        let indices = try weights.linears(matching: config.ternary.layers)
        let ternary = try TernaryTraining(
            weights, indices: indices, config.ternary.transition(seed: 0), config, over: LoopbackCommunicator())
        try ternary.begin(&weights)
        let limit = LayerTransition.mostFactors * indices.reduce(0) { $0 + weights[$1].count }
        let wanted = ternary.results.reduce(0) { $0 + $1.factors.componentCount * $1.factors.componentCount }
        #expect((wanted > limit) == (tolerance < 0.1))
        for step in 1...4 {
            _ = try ternary.update(&weights)
            let kept = ternary.keptValues
            // Steps are counted from 0, and the first is the decomposition.
            #expect(config.ternary.adapts(atStep: step) ? kept == 0 : kept > 0 && kept <= limit, "\(step)")
        }
    }

    @Test(arguments: ["model", "model.decoder"])
    func `the table of factors fits a screen for a model of 32 layers of 14336 × 4096`(_ trunk: String) {
        let factors = TernaryFactors(
            u: PackedTernary(Tensor([Float](repeating: 1, count: 14336), [14336, 1])), s: [1],
            v: PackedTernary(Tensor([Float](repeating: 1, count: 4096), [1, 4096])), balance: nil, tolerance: 0.1)
        let layers = (0..<32).map {
            TernaryReport.Layer(name: "\(trunk).layers.\($0).self_attn.q_proj", factors: factors, relativeError: 0.1)
        }
        let lines = TernaryReport(layers, of: []).table.text.split(separator: "\n")
        #expect(lines.allSatisfy { $0.count <= 80 }, "\(lines.first ?? "")")
        #expect(lines.contains { $0.hasPrefix("31.self_attn.q_proj ") })
        #expect(lines.prefix(5).joined().contains("\(trunk).layers"))
    }

    @Test func `names keep what they do not have in common`() {
        #expect(LayerNames(["a.b.0.c", "a.b.1.c"]).short("a.b.1.c") == "1.c")
        #expect(LayerNames(["a.0.c", "b.0.c"]).short("b.0.c") == "b.0.c" && LayerNames([]).head == "layer")
    }

    @Test func `the projection of normal weights leaves the share of zeros that was measured`() {
        // docs/algorithms.md, section 3: 0.723 in U and V of a Gaussian matrix at this threshold; rounds of finite vectors
        // scatter by less.
        #expect(abs(normalProjectionSparsity(threshold: 0.8386) - 0.723) < 0.005)
    }
}
