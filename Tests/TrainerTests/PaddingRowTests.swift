import Collectives
import Models
import Parallelism
import Rotation
import TensorCore
import Testing

@testable import Configuration
@testable import Trainer

/// The row of `pad_token_id`, as torch's `nn.Embedding(…, padding_idx)` trains it.
@Suite struct PaddingRowTests {
    private static let row = 5
    private static let width = 16

    private func configuration(tied: Bool, paddingRow: Int?) -> LlamaConfiguration {
        LlamaConfiguration(
            family: .llama, vocabularySize: 32, hiddenSize: Self.width, intermediateSize: 24, layers: 2, heads: 2,
            keyValueHeads: 1, headDimension: 8, maximumPositions: 16, normEpsilon: 1e-5, rotary: .init(base: 10_000),
            tiedEmbeddings: tied, inputBias: false, outputBias: false, feedForwardBias: false, paddingRow: paddingRow)
    }

    /// ∂loss/∂embedding [32, 16] of two sequences that have the token, one micro-batch each.
    private func gradient(_ c: LlamaConfiguration) throws -> [Float] {
        var random = RandomStream(seed: 1)
        let parameters = c.architecture.parameters().map { _, spec in
            Tensor(normal: spec.shape, deviation: 0.3, from: &random)
        }
        let groups = try ParallelGroups(.alone, LoopbackCommunicator())
        let config = try RunConfig(assignments: ["data.sequence_length=8", "parallel.microbatches=2"])
        let settings = try config.trainerSettings(config.microBatches(.alone))
        let trainer = try NetworkTrainer(
            settings, c.description.model(positions: 8), parameters,
            hooks: IdentityHooks(), over: groups)
        let (gradients, _) = try trainer.gradients(
            ReplicaBatch([[1, 5, 9, 5, 2, 5, 30, 4], [5, 5, 3, 8, 7, 1, 0, 2]]), globalSequences: 2)
        let index = try #require(trainer.weights.embedding)
        let place = BucketLayout(counts: trainer.weights.tensors.map(\.count), bytes: settings.bucketBytes).places[index]
        return Array(gradients[place.bucket].elements[place.offset..<place.offset + place.count])
    }

    private func rows(_ gradient: [Float]) -> [[Float]] {
        stride(from: 0, to: gradient.count, by: Self.width).map { Array(gradient[$0..<$0 + Self.width]) }
    }

    @Test func `looking the row up teaches it nothing, and all others what they are taught without it`() throws {
        let plain = rows(try gradient(configuration(tied: false, paddingRow: nil)))
        let padded = rows(try gradient(configuration(tied: false, paddingRow: Self.row)))
        #expect(plain[Self.row].allSatisfy { $0 != 0 })
        #expect(padded[Self.row].allSatisfy { $0 == 0 })
        for row in plain.indices where row != Self.row { #expect(padded[row] == plain[row], "row \(row)") }
    }

    /// What the head gives a row that no text looks up: the same network's, were the table's part zero.
    @Test func `as a head the matrix learns in this row, too`() throws {
        let plain = rows(try gradient(configuration(tied: true, paddingRow: nil)))
        let padded = rows(try gradient(configuration(tied: true, paddingRow: Self.row)))
        #expect(padded[Self.row].allSatisfy { $0 != 0 })
        #expect(padded[Self.row] != plain[Self.row])
        for row in plain.indices where row != Self.row { #expect(padded[row] == plain[row], "row \(row)") }
    }
}
