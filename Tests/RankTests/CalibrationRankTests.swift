import Autograd
import Calibration
import Collectives
import Models
import Parallelism
import Quantization
import TensorCore
import TestSupport
import Testing

extension RankTests {
    @Suite(.serialized) struct CalibrationTests {
        let world = RankWorld.shared

        private static let length = 16
        private static let configuration = LlamaConfiguration(
            family: .llama, vocabularySize: 48, hiddenSize: 32, intermediateSize: 48, layers: 5, heads: 4, keyValueHeads: 2,
            headDimension: 8, maximumPositions: 64, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
            tiedEmbeddings: true, inputBias: false, outputBias: false, feedForwardBias: false)
        /// Two a layer, of which attention comes first.
        private static let blocks = 2 * configuration.layers
        private static let sequences: [[Int32]] = {
            var random = RandomStream(seed: 42)
            return (0..<11).map { _ in (0..<length).map { _ in Int32(random.next() % 48) } }
        }()

        /// This rank's blocks, of all that there are.
        private static func stage(_ groups: ParallelGroups<some Communicator>) -> Range<Int> {
            let stages = groups.dims.pipeline
            return blocks * groups.stage / stages..<blocks * (groups.stage + 1) / stages
        }

        private static func parameters(_ stage: Range<Int>) -> Parameters<Tensor> {
            let streams = configuration.architecture.parameters().named.map(\.name)
            return configuration.architecture.parameters(stage).map { name, spec in
                var random = RandomStream(seed: 41, stream: UInt64(streams.firstIndex(of: name) ?? 0))
                return Tensor(normal: spec.shape, deviation: spec.shape.count == 1 ? 1 : 0.3, from: &random)
            }
        }

        private func quantize(
            _ dims: ParallelDims, _ world: some Communicator, _ mode: CalibrationMode, _ granularity: QuantizerGranularity,
            storage: ActivationStorage = .memory, _ method: GPTQ = GPTQ()
        ) throws -> [String: QuantizedWeight] {
            let groups = try ParallelGroups(dims, world)
            let stage = Self.stage(groups)
            let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: granularity))
            let model = Self.configuration.description.model(positions: Self.length)
            let depth = method.inputs ?? .secondMoment
            return try Calibration(model, groups, mode: mode, depth: depth, storage: storage).quantize(
                Self.parameters(stage), windows: Self.sequences, hooks: IdentityHooks(), by: method
            ) { _ in quantizer }
        }

        @Test(arguments: CalibrationMode.allCases)
        func `stages with activations in files choose the integers that one rank chooses with them in memory`(
            _ mode: CalibrationMode
        ) throws {
            let alone = try quantize(.alone, LoopbackCommunicator(), mode, .channel)
            let folder = try TemporaryFolder()
            let staged = try quantize(
                ParallelDims(data: 1, pipeline: world.size), world, mode, .channel,
                storage: .file(folder: folder.file("activations")))
            #expect(!staged.isEmpty)
            for (name, weight) in staged {
                #expect(weight.codes == alone[name]?.codes && weight.scales.elements == alone[name]?.scales.elements, "\(name)")
            }
        }

        @Test func `stages and replicas compare inputs with the full-precision network's as one rank does`() throws {
            let method = GPTQ(compensation: 1)
            let alone = try quantize(.alone, LoopbackCommunicator(), .sequential, .channel, method)
            let staged = try quantize(
                ParallelDims(data: 1, pipeline: world.size), world, .sequential, .channel, method)
            #expect(!staged.isEmpty)
            for (name, weight) in staged { #expect(weight.codes == alone[name]?.codes, "\(name)") }
            let shared = try quantize(ParallelDims(data: world.size, pipeline: 1), world, .sequential, .channel, method)
            for (name, weight) in shared { #expect(weight.codes == alone[name]?.codes, "\(name)") }
        }

        @Test(arguments: [true, false], [true, false])
        func `what is wrong with a layer of one stage ends all of them`(_ isFirst: Bool, looksAtInputs: Bool) throws {
            try breakLayer(isFirst, looksAtInputs: looksAtInputs, on: world)
        }

        private func breakLayer(_ isFirst: Bool, looksAtInputs: Bool, on world: some Communicator) throws {
            let groups = try ParallelGroups(ParallelDims(data: 1, pipeline: world.size), world)
            let stage = Self.stage(groups)
            var parameters = Self.parameters(stage)
            let block = isFirst ? 0 : Self.blocks - 2
            if stage.contains(block) {
                let weight = try #require(parameters.blocks[block - stage.lowerBound].index("self_attn.o_proj.weight"))
                parameters.blocks[block - stage.lowerBound][weight][flat: 3] = .nan
            }
            let broken = parameters
            let quantizer = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel))
            let model = Self.configuration.description.model(positions: Self.length)
            func quantize(by method: some WeightQuantization) throws {
                _ = try Calibration(model, groups).quantize(
                    broken, windows: Self.sequences, hooks: IdentityHooks(), by: method
                ) { _ in quantizer }
            }
            let error = #expect(throws: AgreedError.self) {
                if looksAtInputs { try quantize(by: GPTQ()) } else { try quantize(by: RoundToNearest()) }
            }
            #expect(error?.description.hasPrefix("model.layers.\(block / 2).self_attn.o_proj: ") == true)
        }

        @Test func `a stage that is asked to stop ends all of them`() throws { try stopFirstStage(world) }

        private func stopFirstStage(_ world: some Communicator) throws {
            let groups = try ParallelGroups(ParallelDims(data: 1, pipeline: world.size), world)
            let stage = Self.stage(groups)
            let model = Self.configuration.description.model(positions: Self.length)
            #expect(throws: StopRequested(signal: 10)) {
                try Calibration(model, groups).run(
                    Self.parameters(stage), windows: Self.sequences, hooks: IdentityHooks()
                ) { layers in
                    if groups.stage == 0 { throw StopRequested(signal: 10) }
                    return layers.layers.map(\.weight)
                }
            }
        }

        /// Sums over replicas round differently in the sixteenth digit, which no weight here is near enough to a tie to show.
        @Test(arguments: [QuantizerGranularity.channel, .group(16), .tensor])
        func `replicas choose the integers that one rank chooses, and all the same`(_ granularity: QuantizerGranularity) throws
        {
            let alone = try quantize(.alone, LoopbackCommunicator(), .fullPrecision, granularity)
            let shared = try quantize(ParallelDims(data: world.size, pipeline: 1), world, .fullPrecision, granularity)
            #expect(shared.count == alone.count && alone.count == 7 * Self.configuration.layers)
            for name in shared.keys.sorted() {
                let (ours, theirs) = (try #require(shared[name]), try #require(alone[name]))
                #expect(ours.scales.shape == theirs.scales.shape && ours.zeros.shape == theirs.zeros.shape)
                #expect(ours.codes == theirs.codes, "\(name)")
                let bytes = ours.codes.map { UInt8(truncatingIfNeeded: Int($0) + 8) }
                #expect(try world.allGather(bytes).allSatisfy { $0 == bytes })
            }
        }
    }
}
