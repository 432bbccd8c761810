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

    @Test func `columns with large inputs stay floats, and a fraction can be cut`() throws {
        let maxima = (0..<64).map { $0 == 5 ? Float(100) : 1 }
        let x = Matrix((0..<64).map { $0 == 5 ? 100 : Float($0 % 5) / 2 - 1 }, rows: 1, columns: 64)
        func error(_ split: OutlierMatrix) -> Float {
            (0..<48).map { row in
                abs(split.product(x)[0, row] - (0..<64).reduce(Float(0)) { $0 + Self.matrix[row, $1] * x[0, $1] })
            }.max() ?? 0
        }
        let split = try OutlierMatrix(Self.matrix, inputMaxima: maxima)
        #expect(split.outliers == [5] && split.rows == 48 && split.columns == 64)
        // With the large column among the others, the scale of x is 100/127.
        let whole = try OutlierMatrix(Self.matrix, inputMaxima: maxima, threshold: 1000)
        #expect(whole.outliers.isEmpty && error(split) < 0.1 && error(split) < error(whole) / 5)
        #expect(throws: SQTrainError.self) { try OutlierMatrix(Self.matrix, inputMaxima: [1]) }
        #expect(try Matrix([1.0078125, -3.3], rows: 1, columns: 2).truncated(bits: 17).elements == [1, -3.28125])
        #expect(throws: SQTrainError.self) { try Self.matrix.truncated(bits: 24) }
    }

    @Test func `a model continues with the likeliest tokens of its logits`() throws {
        let model = try LanguageModel(folder: EmbeddedModel.path)
        let prompt = try model.tokens(of: "The river had been")
        let made = try model.continuation(of: prompt, most: 3)
        for most in [-1, Int.max] {
            #expect(throws: SQTrainError.self) { try model.continuation(of: prompt, most: most) }
        }
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
