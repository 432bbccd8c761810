import Collectives
import Compression
import EmbeddedModel
import Generation
import HuggingFace
import Models
import Parallelism
import Quantization
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

@testable import Configuration
@testable import Jobs

extension RankTests {
    /// Ranks as stages of a model that makes text, against one rank with all of it.
    @Suite(.serialized) struct GenerationTests {
        let world = RankWorld.shared
        private static let prompt = [Int32]([3, 17, 5, 29, 11, 7])
        private static let count = 20

        private enum Weights: String { case dense, integers, ternary }

        /// A folder that all ranks see, gone when all are done with it.
        private func withFolder<Result>(_ world: some Communicator, _ body: (String) throws -> Result) throws -> Result {
            let own = try world.agree { world.isRoot ? try TemporaryFolder() : nil }
            let result = try body(try world.fromRoot { own?.path ?? "" })
            try world.barrier()
            withExtendedLifetime(own) {}
            return result
        }

        /// The embedded model with its linears packed, written by the first rank.
        private func write(_ weights: Weights, to path: String) throws {
            let source = try ModelFolder(EmbeddedModel.path)
            var (integers, factors) = ([String: QuantizerSpec](), [String: TernaryFactors]())
            let parameters = try source.parameters().mapSpecs { name, spec, value -> CompressedValue in
                let linear = String(name.dropLast(".weight".count))
                guard spec.ports != nil, weights != .dense else { return .dense(StoredTensor(value)) }
                if weights == .integers {
                    let weight = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel)).quantized(
                        value)
                    integers[linear] = weight.spec
                    return .integer(weight)
                }
                // Signs of the matrix's rows: not a decomposition worth having, but factors.
                var signs = value
                for index in 0..<signs.count {
                    signs[flat: index] = abs(value[flat: index]) < 0.02 ? 0 : value[flat: index] < 0 ? -1 : 1
                }
                let packed = TernaryFactors(
                    u: PackedTernary(Tensor(identity: value.rows)), s: [Float](repeating: 0.05, count: value.rows),
                    v: PackedTernary(signs), tolerance: 0.1)
                factors[linear] = packed
                return .ternary(packed)
            }
            var execution = Execution()
            if weights == .integers { execution.activationBits = 8 }
            try FolderPacking(integers: integers, factors: factors, execution: execution, isPortable: false)
                .write(parameters, from: source, as: .bf16, to: path)
        }

        private func tokens(
            _ model: RunnableModel, _ choice: TokenChoice, over link: some StageLink
        ) throws -> [Int32] {
            var made: [Int32] = []
            var generator = Generator(model, capacity: Self.prompt.count + Self.count, choice: choice, endTokens: [])
            #expect(try generator.run(Self.prompt, most: Self.count, over: link) { made.append($0) } == .length)
            return made
        }

        private func compare(_ weights: Weights, _ world: some Communicator) throws {
            let dims = ParallelDims(data: 1, pipeline: world.size)
            try withFolder(world) { path in
                try world.agree { if world.isRoot { try write(weights, to: path + "/model") } }
                for product in weights == .dense ? [LinearProduct.float] : LinearProduct.allCases {
                    for bits in [16, 8, 4] {
                        let config = try RunConfig(assignments: [
                            "model.path=\(path)/model", "generate.kv_bits=\(bits)", "eval.product=\(product.rawValue)",
                        ])
                        let staged = try StagedFolder(config, dims, world)
                        let stage = try staged.model(config, positions: 64, world)
                        let whole = try RunnableModel(staged.folder, product: product, cacheBits: bits, positions: 64)
                        // What is not held by one stage is held by another, and by no third.
                        #expect(try RankStages(world).sum(stage.bytesPerToken) == whole.bytesPerToken)
                        for choice in [TokenChoice(), TokenChoice(temperature: 1.3, topP: 0.9, seed: 8)] {
                            let expected = try tokens(whole, choice, over: WholeNetwork())
                            let made = try tokens(stage, choice, over: RankStages(world))
                            #expect(made == expected, "\(weights), \(product), \(bits) bits, temperature \(choice.temperature)")
                        }
                    }
                }
            }
        }

        @Test(arguments: ["dense", "integers", "ternary"])
        func `stages make one rank's tokens, from floats, integers and factors, with any cache`(_ weights: String) throws {
            try compare(try #require(Weights(rawValue: weights)), world)
        }

        private func text(_ settings: [String], _ world: some Communicator) throws -> String {
            var text = ""
            _ = try GenerateJob { "The history of the" }.run(
                try RunConfig(assignments: ["generate.max_tokens=12"] + settings), world
            ) { text += $0 }
            return text
        }

        private func run(_ world: some Communicator) throws {
            let expected = try text([], LoopbackCommunicator())
            #expect(expected.count > 12)
            #expect(try text([], world) == (world.isRoot ? expected : ""))
            #expect(try text(["parallel.pipeline=\(world.size)"], world) == (world.isRoot ? expected : ""))
        }

        @Test func `the first rank alone gets the text, and it is that of one process`() throws { try run(world) }

        private func expectRefusals(_ world: some Communicator) throws {
            for (settings, fragment) in [
                (["parallel.data=\(2 * world.size)"], "replicas would all do the same work"),
                (["parallel.pipeline=\(world.size + 1)"], "ranks"),
                (["model.path=/nowhere"], "/nowhere"),
                (["eval.product=integer"], "holds floats"),
            ] {
                do {
                    _ = try text(settings, world)
                    Issue.record("\(settings) ran")
                } catch {
                    #expect(AgreedError(error).description.contains(fragment), "\(settings): \(error)")
                }
            }
        }

        @Test func `what cannot be made in stages is refused by all ranks alike`() throws { try expectRefusals(world) }

        private func expectRefusalOfIdleRanks(_ world: some Communicator) {
            #expect(throws: AgreedError.self) { try text(["parallel.pipeline=1"], world) }
        }

        @Test(.enabled(if: RankWorld.shared.size > 1)) func `one stage on several ranks is refused`() {
            expectRefusalOfIdleRanks(world)
        }
    }
}
