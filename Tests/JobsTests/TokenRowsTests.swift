import EmbeddedModel
import Evaluation
import HuggingFace
import Models
import Rotation
import TensorCore
import TestSupport
import Testing

/// `verify` looks at every token's rows, through any R1.
@Suite struct TokenRowsTests {
    let folder: ModelFolder
    let weights: Parameters<Tensor>

    init() throws {
        folder = try ModelFolder(EmbeddedModel.path)
        weights = try folder.parameters()
    }

    private var rotated: Parameters<Tensor> {
        let rotations = Rotations.randomHadamard(
            hidden: folder.architecture.hiddenSize, head: folder.architecture.headDimension,
            layers: folder.architecture.layerCount, seed: 9)
        return weights.fusingNorms(folder.architecture).rotated(by: rotations, folder.architecture)
    }

    private func rows(_ parameters: Parameters<Tensor>) -> TokenRows { TokenRows(parameters, folder.architecture) }

    /// - Parameter change: of one token's row.
    private func changed(_ matrix: Tensor, _ token: Int, _ change: (inout Float) -> Void) -> Tensor {
        var matrix = matrix.copy()
        for j in 0..<matrix.columns { change(&matrix[token, j]) }
        return matrix
    }

    @Test func `a rotated model has the same rows`() {
        for difference in rows(weights).differences(from: rows(rotated), tolerance: 2e-4) {
            #expect(difference.tokens.isEmpty && difference.largest < 1e-5, "\(difference)")
        }
    }

    /// Of the 64 tokens that all rows are compared with some, and others.
    @Test(arguments: [false, true])
    func `one row with 1 added to it is found and named, through a rotation too`(isRotated: Bool) throws {
        let (first, other) = (rows(weights), isRotated ? rotated : weights)
        let (table, head) = (try #require(other.entry.index(.embedding)), try #require(other.exit.index(.head)))
        for token in stride(from: 0, to: folder.architecture.vocabularySize, by: 211).map(\.self) + [32, 2016, 2047] {
            var (embedding, logits) = (other, other)
            embedding.entry[table] = changed(other.entry[table], token) { $0 += 1 }
            logits.exit[head] = changed(other.exit[head], token) { $0 += 1 }
            let found = [embedding, logits].map { first.differences(from: rows($0), tolerance: 2e-4).map(\.tokens) }
            #expect(found == [[[token], []], [[], [token]]])
        }
    }

    @Test func `a row that is not a number, or zero in one model only, is a difference`() throws {
        let table = try #require(weights.entry.index(.embedding))
        for value in [Float.nan, 0] {
            var other = weights
            other.entry[table] = changed(weights.entry[table], 77) { $0 = value }
            #expect(rows(weights).differences(from: rows(other), tolerance: 2e-4)[0].tokens.contains(77))
        }
    }
}
