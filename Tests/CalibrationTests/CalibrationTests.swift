import Autograd
import Collectives
import LinearAlgebra
import Models
import Parallelism
import Quantization
import Support
import TensorCore
import TestSupport
import Testing

@testable import Calibration

@Suite struct CalibrationTests {
    private static let configuration = LlamaConfiguration(
        family: .llama, vocabularySize: 40, hiddenSize: 16, intermediateSize: 24, layers: 3, heads: 2, keyValueHeads: 1,
        headDimension: 8, maximumPositions: 32, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000), tiedEmbeddings: true,
        inputBias: false, outputBias: false, feedForwardBias: false)
    private static let model = configuration.description.model(positions: 12)
    private static let windows: [[Int32]] = {
        var random = RandomStream(seed: 22)
        return (0..<7).map { _ in (0..<12).map { _ in Int32(random.next() % 40) } }
    }()

    private static func parameters() -> Parameters<Tensor> {
        var random = RandomStream(seed: 21)
        return configuration.architecture.parameters().map { _, spec in
            Tensor(normal: spec.shape, deviation: spec.shape.count == 1 ? 1 : 0.4, from: &random)
        }
    }

    private static func calibration(
        _ mode: CalibrationMode, depth: InputStatistics.Depth = .secondMoment, storage: ActivationStorage = .memory
    ) throws -> Calibration<LoopbackCommunicator> {
        Calibration(
            model, try ParallelGroups.dataParallel(LoopbackCommunicator()), mode: mode, depth: depth, storage: storage)
    }

    /// What reaches every hook point of a block in one pass through the whole network.
    private final class Recorder: HookTransform {
        var seen: [String: Tensor] = [:]

        func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
            seen["\(point) \(block ?? -1)"] = x.value
            return x
        }
    }

    private static func inputs(_ parameters: Parameters<Tensor>) -> [[String: Tensor]] {
        windows.map { window in
            let recorder = Recorder()
            let network = Network(
                model: model, parameters: parameters.map { _, value in Variable(constant: value) }, hooks: recorder)
            _ = network.outputs([window], from: nil)
            return recorder.seen
        }
    }

    private static func meanSquares(_ inputs: [[String: Tensor]], _ key: String) throws -> [Double] {
        let all = try inputs.map { try #require($0[key]) }
        let rows = all.reduce(0) { $0 + $1.rows }
        return (0..<all[0].columns).map { j in
            let sum = all.reduce(0.0) { sum, x in
                sum + (0..<x.rows).reduce(0.0) { $0 + Double(x[$1, j]) * Double(x[$1, j]) }
            }
            return sum / Double(rows)
        }
    }

    /// Layers' weights a tenth smaller, in the network, too.
    private static func shrunk(_ layers: CalibratedLayers, in network: inout Parameters<Tensor>) -> [Tensor] {
        let new = layers.layers.map { layer in
            var weight = layer.weight.copy()
            weight.scale(by: 0.9)
            return weight
        }
        network = network.map { name, value in
            guard let index = layers.layers.firstIndex(where: { $0.name + ".weight" == name }) else { return value }
            return new[index]
        }
        return new
    }

    private static func expectClose(_ a: [Double], _ b: [Double], _ what: String) {
        for (x, y) in zip(a, b) { #expect(abs(x - y) <= 1e-5 * max(1e-3, y), "\(what)") }
    }

    @Test func `in full precision layers see what the network as it is gives them`() throws {
        let parameters = Self.parameters()
        let inputs = Self.inputs(parameters)
        var seen: [String] = []
        try Self.calibration(.fullPrecision, depth: .channels).run(
            parameters, windows: Self.windows, hooks: IdentityHooks()
        ) { layers in
            let key = "\(layers.point) \(layers.block)"
            let names = layers.layers.map { String($0.name.split(separator: ".").last ?? "") }
            seen.append(key + " " + names.joined(separator: " "))
            let statistics = try layers.statistics()
            Self.expectClose(statistics.meanSquares, try Self.meanSquares(inputs, key), key)
            #expect(statistics.rows == 7 * 12)
            // Replaced by nothing: later layers must not notice.
            return layers.layers.map { Tensor(zeros: $0.weight.shape) }
        }
        let blocks = (0..<3).flatMap { layer in
            [
                "attentionInput \(2 * layer) q_proj k_proj v_proj", "outputInput \(2 * layer) o_proj",
                "mlpInput \(2 * layer + 1) gate_proj up_proj", "downInput \(2 * layer + 1) down_proj",
            ]
        }
        #expect(seen == blocks)
    }

    @Test func `in sequence layers see what the replaced ones before them give`() throws {
        let parameters = Self.parameters()
        // What is there when a point is reached, put together from outside.
        var current = parameters
        try Self.calibration(.sequential).run(parameters, windows: Self.windows, hooks: IdentityHooks()) { layers in
            let key = "\(layers.point) \(layers.block)"
            let inputs = Self.inputs(current)
            Self.expectClose(try layers.statistics().meanSquares, try Self.meanSquares(inputs, key), key)
            return Self.shrunk(layers, in: &current)
        }
        let last = [current, parameters].map { $0.blocks[5].required("mlp.down_proj.weight").elements }
        #expect(last[0] != last[1])
    }

    @Test(arguments: [CalibrationMode.sequential, .fullPrecision])
    func `activations in a file give the bits of those in memory, and leave nothing behind`(_ mode: CalibrationMode) throws {
        let folder = try TemporaryFolder()
        let scratch = folder.file("scratch")
        var names: [[String]] = []
        func seen(_ storage: ActivationStorage) throws -> [[UInt64]] {
            var result: [[UInt64]] = []
            try Self.calibration(mode, storage: storage).run(
                Self.parameters(), windows: Self.windows, hooks: IdentityHooks()
            ) { layers in
                let statistics = try layers.statistics()
                result.append(statistics.maxima.map { UInt64($0.bitPattern) } + statistics.sums.elements.map(\.bitPattern))
                result.append(layers.origin.map { UInt64($0) })
                if storage != .memory { names.append(try entries(ofFolder: scratch)) }
                return layers.layers.map { layer in
                    var weight = layer.weight.copy()
                    weight.scale(by: 0.9)
                    return weight
                }
            }
            return result
        }
        let (inMemory, inFile) = (try seen(.memory), try seen(.file(folder: scratch)))
        #expect(inMemory == inFile && inMemory.count == 2 * 4 * 3)
        #expect(names.joined().isEmpty, "the file has no name while it is used")
        #expect(try entries(ofFolder: scratch).isEmpty)
    }

    @Test func `a folder that cannot hold the activations ends the calibration with the error of writing`() throws {
        let folder = try TemporaryFolder()
        let error = #expect(throws: (any Error).self) {
            try Self.calibration(.sequential, storage: .file(folder: folder.file("absent/scratch"))).run(
                Self.parameters(), windows: Self.windows, hooks: IdentityHooks()
            ) { $0.layers.map(\.weight) }
        }
        #expect((error as? any ReportableError)?.exitCode == .io)
    }

    @Test func `hooks of the network act before anything is gathered`() throws {
        struct Doubled: HookTransform {
            func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
                point == .downInput ? tape.add(x, x) : x
            }
        }
        func squares(_ hooks: some HookTransform) throws -> [Double] {
            var result: [Double] = []
            try Self.calibration(.fullPrecision).run(Self.parameters(), windows: Self.windows, hooks: hooks) { layers in
                if layers.block == 0, layers.point == .downInput { result = try layers.statistics().meanSquares }
                return layers.layers.map(\.weight)
            }
            return result
        }
        Self.expectClose(try squares(Doubled()), try squares(IdentityHooks()).map { 4 * $0 }, "doubled")
    }

    /// Multiplies what every hook point is given.
    private struct Multiplying: HookTransform {
        let factor: Float

        func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
            var matrix = Tensor(identity: x.value.columns)
            matrix.scale(by: factor)
            return tape.product(x, constant: matrix)
        }
    }

    @Test func `deviations are those from the network as it was, without rounding`() throws {
        let parameters = Self.parameters()
        let exact = Self.inputs(parameters)
        var current = parameters
        try Self.calibration(.sequential, depth: .deviation).run(
            parameters, windows: Self.windows, hooks: IdentityHooks(), exact: IdentityHooks()
        ) { layers in
            let key = "\(layers.point) \(layers.block)"
            let rounded = Self.inputs(current)
            let statistics = try layers.statistics()
            for (i, j) in [(0, 0), (2, 5), (5, 2), (15, 7)] {
                let sum = zip(exact, rounded).reduce(0.0) { sum, pair in
                    guard let a = pair.0[key], let b = pair.1[key] else { return .nan }
                    return (0..<a.rows).reduce(sum) { $0 + Double(a[$1, i] - b[$1, i]) * Double(b[$1, j]) }
                }
                #expect(abs(statistics.deviationRow(i)[j] - sum) < 1e-3 * max(1, abs(sum)), "\(key)")
            }
            return Self.shrunk(layers, in: &current)
        }
    }

    @Test func `what hooks do to inputs deviates, too`() throws {
        try Self.calibration(.sequential, depth: .deviation).run(
            Self.parameters(), windows: Self.windows, hooks: Multiplying(factor: 0.5), exact: Multiplying(factor: 1)
        ) { layers in
            if layers.block == 0, layers.point == .attentionInput {
                let statistics = try layers.statistics()
                // The embedding's factor is the norm's to undo.
                #expect(abs(statistics.deviationRow(3)[3] - statistics.productRow(3)[3]) < 1e-3 * statistics.productRow(3)[3])
            }
            return layers.layers.map(\.weight)
        }
    }

    @Test func `GPTQ keeps the network's output nearer than the nearest integers do`() throws {
        let parameters = Self.parameters()
        let quantizer = WeightQuantizer(
            QuantizerSpec(bits: 3, symmetric: true, granularity: .group(8)), searchesClip: true)
        func error(_ method: some WeightQuantization, _ mode: CalibrationMode) throws -> Double {
            let integers = try Self.calibration(mode).quantize(
                parameters, windows: Self.windows, hooks: IdentityHooks(), by: method
            ) { name in name.hasSuffix("k_proj") ? nil : quantizer }
            #expect(integers.count == 3 * 6)
            let changed = parameters.dequantized(integers)
            for (name, weight) in integers {
                let place = changed.named.first { $0.name == name + ".weight" }
                #expect(place?.value.elements == weight.dequantized().elements)
            }
            let key = parameters.blocks[2].required("self_attn.k_proj.weight").elements
            #expect(changed.blocks[2].required("self_attn.k_proj.weight").elements == key)
            let (before, after) = (Self.model.constantNetwork(parameters), Self.model.constantNetwork(changed))
            return Self.windows.reduce(0.0) {
                $0 + (before.outputs([$1], from: nil) - after.outputs([$1], from: nil)).squaredNorm
            }
        }
        let nearest = try error(RoundToNearest(), .sequential)
        #expect(try error(RoundToNearest(), .fullPrecision) == nearest)
        #expect(try error(GPTQ(), .sequential) < 0.8 * nearest)
        #expect(try error(GPTQ(), .fullPrecision) < 0.9 * nearest)
    }

    @Test func `an error names its layers, and no window is an error`() throws {
        var parameters = Self.parameters()
        let index = try #require(parameters.blocks[2].index("self_attn.o_proj.weight"))
        parameters.blocks[2][index][flat: 3] = .nan
        let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))
        let broken = parameters
        func run(_ parameters: Parameters<Tensor>, _ windows: [[Int32]]) throws {
            _ = try Self.calibration(.sequential).quantize(
                parameters, windows: windows, hooks: IdentityHooks(), by: GPTQ()
            ) { _ in quantizer }
        }
        let error = #expect(throws: AgreedError.self) { try run(broken, Self.windows) }
        #expect(error?.description.hasPrefix("model.layers.1.self_attn.o_proj: ") == true)
        #expect(throws: CalibrationError.self) { try run(Self.parameters(), []) }
    }

    @Test func `smoothing divides what norms give by what the weights take, and leaves the function`() throws {
        let parameters = Self.parameters()
        func maxima(_ parameters: Parameters<some TensorValue>) throws -> ChannelMaxima {
            try Calibration.channelMaxima(
                Self.model, parameters, windows: Self.windows, .dataParallel(LoopbackCommunicator()), storage: .memory)
        }
        let largest = try maxima(parameters)
        #expect(largest.count == 6 && largest[3]?[.mlpInput]?.count == 16)
        let smoothed = parameters.map { _, value in StoredTensor(value) }.smoothed(
            by: largest, Self.configuration.architecture)
        let tokens = Self.windows[0]
        let (before, after) = (Self.model.logits(tokens, parameters), Self.model.logits(tokens, smoothed))
        #expect(maxDifference(before, after) <= 1e-4 * before.maxMagnitude)
        // Inputs and weights have met halfway: max|x_j/s_j| = max|W_j·s_j|.
        let met = try maxima(smoothed)
        let inputs = try #require(met[5]?[.mlpInput])
        let readers = ["mlp.gate_proj.weight", "mlp.up_proj.weight"].map { smoothed.blocks[5].required($0).tensor }
        for j in 0..<16 {
            let weights = readers.flatMap { weight in (0..<weight.rows).map { abs(weight[$0, j]) } }.max() ?? 0
            #expect(abs(inputs[j] - weights) <= 1e-3 * weights)
        }
    }
}
