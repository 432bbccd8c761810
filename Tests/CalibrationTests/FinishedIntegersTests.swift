import Collectives
import Models
import Parallelism
import Quantization
import Support
import TensorCore
import TestSupport
import Testing

@testable import Calibration

@Suite struct FinishedIntegersTests {
    private static let configuration = LlamaConfiguration(
        family: .llama, vocabularySize: 40, hiddenSize: 16, intermediateSize: 24, layers: 2, heads: 2, keyValueHeads: 1,
        headDimension: 8, maximumPositions: 32, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000), tiedEmbeddings: true,
        inputBias: false, outputBias: false, feedForwardBias: false)
    private let folder: TemporaryFolder
    private let parameters: Parameters<Tensor>
    private var windows: [[Int32]]

    init() throws {
        var random = RandomStream(seed: 31)
        folder = try TemporaryFolder()
        parameters = Self.configuration.architecture.parameters().map { _, spec in
            Tensor(normal: spec.shape, deviation: spec.shape.count == 1 ? 1 : 0.4, from: &random)
        }
        windows = (0..<3).map { _ in (0..<12).map { _ in Int32(random.next() % 40) } }
    }

    private final class Count: @unchecked Sendable {
        var calls = 0
        var limit = Int.max
    }

    private struct Killed: ReportableError {
        let exitCode = ExitCode.software
        let description = "killed"
    }

    /// GPTQ that counts how often it is asked, and ends the run after so many times.
    private struct Counting: WeightQuantization, CustomStringConvertible {
        static let name = "counting", label = "counting"
        let base: GPTQ
        let count: Count
        var inputs: InputStatistics.Depth? { base.inputs }
        var description: String { "\(base)" }

        func quantize(
            _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
        ) throws -> [QuantizedWeight] {
            guard count.calls < count.limit else { throw Killed() }
            count.calls += 1
            return try base.quantize(weights, statistics, quantizer)
        }
    }

    /// - Returns: the integers, and how many hook points they were chosen for.
    private func quantized(
        _ mode: CalibrationMode = .sequential, bits: Int = 4, queryBits: Int? = nil, hooks: String = "none",
        killedAfter limit: Int = .max,
        _ parameters: Parameters<Tensor>? = nil, _ base: GPTQ = GPTQ()
    ) throws -> (weights: [String: QuantizedWeight], points: Int) {
        let model = Self.configuration.description.model(positions: 12)
        let groups = try ParallelGroups.dataParallel(LoopbackCommunicator())
        func quantizer(_ bits: Int) -> WeightQuantizer {
            WeightQuantizer(QuantizerSpec(bits: bits, symmetric: false, granularity: .group(8)))
        }
        let count = Count()
        count.limit = limit
        let weights = try Calibration(model, groups, mode: mode, depth: base.inputs ?? .secondMoment).quantize(
            parameters ?? self.parameters, windows: windows, hooks: IdentityHooks(), by: Counting(base: base, count: count),
            keeping: FinishedIntegers(folder: folder.path + "/kept", network: "n", hooks: hooks)
        ) { quantizer($0.hasSuffix("q_proj") ? queryBits ?? bits : bits) }
        return (weights, count.calls)
    }

    private func expectSame(_ a: [String: QuantizedWeight], _ b: [String: QuantizedWeight]) {
        #expect(a.count == b.count)
        for (name, weight) in a {
            let other = b[name]
            #expect(weight.codes == other?.codes && weight.scales.elements == other?.scales.elements)
            #expect(weight.zeros.elements == other?.zeros.elements && weight.columnGroups == other?.columnGroups)
        }
    }

    @Test(arguments: CalibrationMode.allCases, [GPTQ(), GPTQ(byActivation: true)])
    func `a calibration that was ended resumes with the layers that are left, to the same bits`(
        _ mode: CalibrationMode, _ method: GPTQ
    ) throws {
        try expectResumed(mode, method)
    }

    @Test func `so does one that compares inputs with the full-precision network's`() throws {
        try expectResumed(.sequential, GPTQ(compensation: 0.5))
        #expect(try quantized(.sequential, nil, GPTQ(compensation: 0.25)).points == 8)
    }

    private func expectResumed(_ mode: CalibrationMode, _ method: GPTQ) throws {
        let whole = try quantized(mode, parameters, method)
        #expect(whole.points == 2 * 4)
        try removeTree(folder.path + "/kept")
        #expect(throws: (any Error).self) { try quantized(mode, killedAfter: 5, parameters, method) }
        let rest = try quantized(mode, parameters, method)
        #expect(rest.points == 3)
        expectSame(rest.weights, whole.weights)
        let again = try quantized(mode, parameters, method)
        #expect(again.points == 0)
        expectSame(again.weights, whole.weights)
    }

    @Test mutating func `layers of another text, weight, hook or quantizer are chosen anew`() throws {
        _ = try quantized()
        #expect(try quantized(hooks: "rounded").points == 8)
        #expect(try quantized(bits: 3, hooks: "rounded").points == 8)
        #expect(try quantized(.fullPrecision, bits: 3, hooks: "rounded").points == 8)
        #expect(try quantized(.fullPrecision, bits: 3, hooks: "rounded", nil, GPTQ(damping: 0.02)).points == 8)
        _ = try quantized()
        // The last layer alone: what its block's other layers see is the same, but the block is not; earlier blocks are.
        var other = parameters
        let index = try #require(other.blocks[3].index("mlp.down_proj.weight"))
        other.blocks[3][index][flat: 0] += 0.5
        #expect(try quantized(.sequential, other).points == 2)
        _ = try quantized()
        windows[2][11] ^= 1
        #expect(try quantized().points == 8)
    }

    @Test func `layers that see the outputs of others are chosen anew where these have other bits`() throws {
        _ = try quantized()
        let continued = try quantized(queryBits: 2)
        try removeTree(folder.path + "/kept")
        expectSame(continued.weights, try quantized(queryBits: 2).weights)
        // The full-precision network's activations are the same.
        _ = try quantized(.fullPrecision)
        #expect(try quantized(.fullPrecision, queryBits: 2).points == 2)
    }

    @Test func `a damaged file is as none`() throws {
        let whole = try quantized()
        let file = folder.path + "/kept/integers/n.model.layers.1.mlp.down_proj.safetensors"
        let bytes = try InputFile.contents(of: file, limit: 1 << 24)
        for damaged in [Array(bytes.dropLast()), bytes.dropLast() + [bytes[bytes.count - 1] ^ 1], []] {
            try AtomicFile.write(damaged, to: file)
            let made = try quantized()
            #expect(made.points == 1)
            expectSame(made.weights, whole.weights)
        }
    }
}
