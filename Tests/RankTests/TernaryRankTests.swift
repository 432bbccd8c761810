import Autograd
import Collectives
import Glibc
import Models
import Parallelism
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

@testable import Configuration
@testable import Trainer

extension RankTests {
    /// Ternary layers in training, over the bus, against a world of one.
    @Suite(.serialized) struct TernaryTrainingTests {
        let world = RankWorld.shared

        private static let steps = 4

        /// A model of one layer whose weights take a few random steps, without a forward pass: what is under test is the
        /// projection.
        private static var weights: ModelWeights<Tensor> {
            let configuration = LlamaConfiguration(
                family: .llama, vocabularySize: 16, hiddenSize: 24, intermediateSize: 40, layers: 1, heads: 2, keyValueHeads: 1,
                headDimension: 12, maximumPositions: 16, normEpsilon: 1e-5, rotary: RotaryScaling(base: 10_000),
                tiedEmbeddings: true,
                inputBias: false, outputBias: false, feedForwardBias: false)
            var random = RandomStream(seed: 31)
            return ModelWeights(
                configuration.architecture.parameters().map { _, spec in Tensor(normal: spec.shape, from: &random) })
        }

        private struct Outcome {
            var weights: ModelWeights<Tensor>
            var factors: [[Float]]
            var bytes: Int
            var branches: [Int]
            var takenOver = 0
        }

        /// - Parameters:
        ///   - passesOn: whether layers change hands in every step, as measurements may have them do.
        ///   - isSlow: whether the first rank takes longer than the others, and layers are worth asking it for.
        private func train(
            _ assignments: [String], _ world: some Communicator, passesOn: Bool = false, isSlow: Bool = false
        ) throws -> Outcome {
            let config = try RunConfig(assignments: ["ternary.tolerance=0.2"] + assignments)
            var weights = Self.weights
            let indices = try weights.linears(matching: config.ternary.layers)
            let ternary = try TernaryTraining(
                weights, indices: indices, config.ternary.transition(seed: 0), config, over: world)
            try ternary.begin(&weights)
            var (branches, takenOver) = ([0, 0, 0], 0)
            if isSlow, world.rank == 0 { ternary.beforeComputing = { _ in usleep(50_000) } }
            for step in 0..<Self.steps {
                var random = RandomStream(seed: 32, stream: UInt64(step))
                if passesOn {
                    for kind in [TransitionDispatch.Kind.adapting, .refreshing] {
                        ternary.dispatch.note(indices.indices.map { Int64(100 + ($0 + step) % indices.count) }, kind)
                    }
                }
                if isSlow {
                    for kind in [TransitionDispatch.Kind.adapting, .refreshing] {
                        ternary.dispatch.note(indices.map { _ in 20_000_000 }, kind)
                    }
                }
                for index in indices {
                    weights[index].add(Tensor(normal: weights[index].shape, deviation: 0.01, from: &random))
                }
                let report = try ternary.update(&weights)
                branches[0] += report.branches.refresh
                branches[1] += report.branches.prune
                branches[2] += report.branches.full
                takenOver += report.takenOver
            }
            let results = ternary.results
            return Outcome(
                weights: weights, factors: results.map { $0.factors.u.bytes.map { Float($0) } + $0.factors.s },
                bytes: Int(try world.allReduce(Int64(ternary.publishedBytes), .sum)), branches: branches,
                takenOver: takenOver)
        }

        @Test(arguments: [
            [], ["ternary.adapt_every=1"], ["ternary.prune_rate=5"], ["ternary.mode=reference", "ternary.prune_rate=1"],
        ])
        func `every rank and every transport ends with the bits of one rank`(assignments: [String]) throws {
            let one = try train(assignments, LoopbackCommunicator())
            #expect(one.branches.reduce(0, +) == 7 * Self.steps)
            for transport in ["auto", "mpi"] {
                let many = try train(assignments + ["bus.transport=\(transport)"], world)
                for (a, b) in zip(many.weights.tensors, one.weights.tensors) { #expect(a.elements == b.elements) }
                #expect(many.factors == one.factors)
                #expect(many.branches == one.branches)
                #expect((many.bytes > 0) == (world.size > 1))
            }
        }

        @Test(arguments: [["ternary.adapt_every=1"], ["ternary.mode=reference", "ternary.prune_rate=1"]])
        func `who computes a layer does not show, also where it is another rank in every step`(assignments: [String]) throws {
            let one = try train(assignments, LoopbackCommunicator())
            let many = try train(assignments, world, passesOn: true)
            for (a, b) in zip(many.weights.tensors, one.weights.tensors) { #expect(a.elements == b.elements) }
            #expect(many.factors == one.factors && many.branches == one.branches)
        }

        @Test(arguments: ["auto", "mpi"])
        func `layers taken over from a slow rank have the bits of one rank`(transport: String) throws {
            let assignments = ["ternary.adapt_every=2", "bus.transport=\(transport)"]
            let one = try train(assignments, LoopbackCommunicator())
            let many = try train(assignments, world, isSlow: true)
            for (a, b) in zip(many.weights.tensors, one.weights.tensors) { #expect(a.elements == b.elements) }
            #expect(many.factors == one.factors && many.branches == one.branches)
            // A broadcast has no time at which a rank could be asked.
            #expect((many.takenOver > 0) == (world.size > 1 && transport == "auto"))
            #expect(one.takenOver == 0)
        }

        /// Random steps of one size on ternary layers, each followed by a projection; `observe` sees the layers before each.
        private func drift<World: Communicator>(
            _ world: World, _ assignments: [String], deviation: Double, steps: Int,
            observe: (TernaryTraining<World>, ModelWeights<Tensor>) throws -> Void
        ) throws {
            let config = try RunConfig(assignments: ["ternary.tolerance=0.2"] + assignments)
            var weights = Self.weights
            let indices = try weights.linears(matching: .all)
            let ternary = try TernaryTraining(
                weights, indices: indices, config.ternary.transition(seed: 0), config, over: world)
            try ternary.begin(&weights)
            for step in 0..<steps {
                try observe(ternary, weights)
                var random = RandomStream(seed: 33, stream: UInt64(step))
                for index in indices {
                    weights[index].add(Tensor(normal: weights[index].shape, deviation: deviation, from: &random))
                }
                _ = try ternary.update(&weights)
            }
            try observe(ternary, weights)
        }

        @Test func `layers whose entries follow the weights cost no more additions than before`() throws {
            func check(_ world: some Communicator) throws {
                var additions: [Int] = []
                try drift(world, ["ternary.adapt_every=1"], deviation: 0.02, steps: 3) { ternary, weights in
                    additions.append(ternary.results.reduce(0) { $0 + $1.factors.additions })
                }
                #expect(additions.count == 4 && additions.allSatisfy { $0 <= additions[0] })
            }
            try check(world)
        }

        @Test func `what a projection cuts off is carried on, and the network in training is the one that is kept`() throws {
            let originals = Self.weights
            func check(_ world: some Communicator) throws {
                var bound = 0.2001
                let groups = try ParallelGroups.dataParallel(world)
                try drift(world, ["ternary.adapt_every=2"], deviation: 0, steps: 3) { ternary, weights in
                    let results = ternary.results
                    // Replicas divide the layers, and each has all the numbers.
                    let errors = try ternary.relativeErrors(of: results, weights, over: groups)
                    #expect(errors.count == results.count)
                    for (result, relativeError) in zip(results, errors) {
                        #expect(maxDifference(weights[result.index], result.factors.unpacked()) < 1e-5)
                        // The first projection keeps the tolerance. Later ones follow with the entries there are: up to 0.29
                        // seen.
                        #expect(relativeError > 0 && relativeError <= bound)
                        // The error relative to W + ρ, which is still the original.
                        let error = try result.factors.relativeError(originals[result.index])
                        #expect(abs(error - relativeError) < 1e-4)
                    }
                    bound = 0.3
                }
            }
            try check(world)
        }
    }
}
