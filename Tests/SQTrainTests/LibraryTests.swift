import EmbeddedModel
import Foundation
import SQTrain
import Testing

@Suite struct LibraryTests {
    private static let matrix = Matrix(
        (0..<48 * 64).map { Float(($0 * 7919) % 101) / 50 - 1 }, rows: 48, columns: 64)

    @Test func `ternary factors multiply as the matrix they stand for`() throws {
        let ternary = try TernaryMatrix(Self.matrix, tolerance: 0.2)
        #expect(
            ternary.u.elements.allSatisfy { [-1, 0, 1].contains($0) }
                && ternary.v.elements.allSatisfy { [-1, 0, 1].contains($0) })
        let x = Matrix((0..<64).map { Float($0 % 5) - 2 }, rows: 1, columns: 64)
        let product = ternary.product(x)
        for i in 0..<48 {
            let expected = (0..<64).reduce(Float(0)) { $0 + ternary.matrix[i, $1] * x[0, $1] }
            #expect(abs(product[0, i] - expected) <= 1e-3)
        }
        #expect(throws: SQTrainError.self) { try TernaryMatrix(Self.matrix, tolerance: 2) }
    }

    @Test func `rounded elements are no further than half a step away`() throws {
        let rounded = try IntegerMatrix(rounding: Self.matrix, bits: 4, granularity: .group(16))
        for index in Self.matrix.elements.indices {
            let step = rounded.scales[index / 16]
            #expect(abs(rounded.matrix.elements[index] - Self.matrix.elements[index]) <= step * 0.501)
        }
        #expect(throws: SQTrainError.self) { try IntegerMatrix(rounding: Self.matrix, bits: 4, granularity: .group(7)) }
        #expect(throws: SQTrainError.self) { try IntegerMatrix(rounding: Self.matrix, bits: 9) }
    }

    @Test func `a model continues with the likeliest tokens of its logits`() throws {
        let model = try LanguageModel(folder: EmbeddedModel.path)
        let prompt = try model.tokens(of: "The river had been")
        let made = try model.continuation(of: prompt, most: 3)
        for count in 0..<3 {
            let logits = try model.logits(of: prompt + made.prefix(count))
            let last = logits.rows - 1
            let best = (0..<logits.columns).max { logits[last, $0] < logits[last, $1] }
            #expect(best == Int(made[count]))
        }
        #expect(throws: SQTrainError.self) { try model.logits(of: [Int32(model.vocabularySize)]) }
        #expect(throws: SQTrainError.self) { try LanguageModel(folder: "/nowhere/at/all") }
    }

    @Test func `an unknown form is refused in a line`() throws {
        do throws(SQTrainError) {
            try LanguageModel.export(folder: EmbeddedModel.path, as: "paper", to: "/tmp/none")
            Issue.record("accepted")
        } catch {
            #expect(error.exitCode == 78 && !error.description.contains("\n"))
        }
    }
}
