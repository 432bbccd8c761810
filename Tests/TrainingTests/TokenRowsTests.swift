import Evaluation
import HuggingFace
import Models
import Rotation
import TensorCore
import TestSupport
import Testing

@testable import Training

/// `verify` looks at every token's rows, through any R1.
@Suite struct TokenRowsTests {
    let folder: LlamaFolder
    let weights: LlamaParameters<Tensor>

    init() throws {
        folder = try LlamaFolder(EmbeddedModel.path)
        weights = try folder.parameters()
    }

    private var rotated: LlamaParameters<Tensor> {
        let c = folder.configuration
        let rotations = Rotations.randomHadamard(hidden: c.hiddenSize, head: c.headDimension, layers: c.layers, seed: 9)
        return weights.fusingNorms().rotated(by: rotations, c)
    }

    @Test func `a rotated model has the same rows`() {
        for difference in TokenRows(weights).differences(from: TokenRows(rotated), tolerance: 2e-4) {
            #expect(difference.tokens.isEmpty && difference.largest < 1e-5, "\(difference)")
        }
    }

    /// Of the 64 tokens that all rows are compared with some, and others.
    @Test(arguments: [false, true])
    func `one row with 1 added to it is found and named, through a rotation too`(isRotated: Bool) throws {
        let (rows, other) = (TokenRows(weights), isRotated ? rotated : weights)
        for token in stride(from: 0, to: folder.configuration.vocabularySize, by: 211).map(\.self) + [32, 2016, 2047] {
            func changed(_ matrix: Tensor) -> Tensor {
                var matrix = matrix.copy()
                for j in 0..<matrix.columns { matrix[token, j] += 1 }
                return matrix
            }
            var (embedding, head) = (other, other)
            embedding.embedding = changed(try #require(other.embedding))
            if other.head == nil { head.head = other.embedding }
            head.head = changed(other.logitWeight)
            if other.head == nil { embedding.head = other.embedding }
            let found = [TokenRows(embedding), TokenRows(head)].map {
                rows.differences(from: $0, tolerance: 2e-4).map(\.tokens)
            }
            #expect(found == [[[token], []], [[], [token]]])
        }
    }

    @Test func `a row that is not a number, or zero in one model only, is a difference`() throws {
        for value in [Float.nan, 0] {
            var other = weights
            var matrix = try #require(weights.embedding).copy()
            for j in 0..<matrix.columns { matrix[77, j] = value }
            if weights.head == nil { other.head = weights.embedding }
            other.embedding = matrix
            #expect(TokenRows(weights).differences(from: TokenRows(other), tolerance: 2e-4)[0].tokens.contains(77))
        }
    }
}
