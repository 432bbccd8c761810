import TensorCore
import TestSupport
import Testing

@testable import LinearAlgebra

@Suite struct FloatMatrixTests {
    /// Numbers that every form holds.
    private func matrix(_ rows: Int, _ columns: Int) -> Tensor {
        var result = Tensor(zeros: [rows, columns])
        for index in 0..<result.count {
            let step: Int = (index * 37 + index / 7) % 255
            result[flat: index] = Float(step - 127) / 64
        }
        return result
    }

    /// One token, a few, and many; rows and columns that fill no vector.
    @Test(arguments: [(1, 1), (7, 15), (33, 64), (130, 49)], [FloatMatrix.Form.float32, .float16, .bfloat16])
    func `products are those of float32`(_ shape: (Int, Int), form: FloatMatrix.Form) {
        var random = RandomStream(seed: 4)
        let w = matrix(shape.0, shape.1)
        let held = FloatMatrix(w, as: form)
        #expect(held.tensor.elements == w.elements && held.byteCount == w.count * (form == .float32 ? 4 : 2))
        for tokens in [1, 3, 4, 5, 40] {
            let x = Tensor(normal: [tokens, shape.1], from: &random)
            let expected = matmul(x, .asStored, w, .transposed)
            #expect(held.product(x).shape == expected.shape)
            #expect(maxDifference(held.product(x), expected) < 1e-4, "\(tokens) tokens")
        }
        let last = Int32(shape.0 - 1)
        #expect(held.rows(at: [last, 0]).elements == w.rows(shape.0 - 1..<shape.0).elements + w.rows(0..<1).elements)
    }

    /// A matrix that is widened in several pieces, and one that threads share.
    @Test func `large matrices are multiplied whole, on any number of threads`() {
        var random = RandomStream(seed: 5)
        let w = matrix(1300, 512)
        let (one, many) = (Tensor(normal: [1, 512], from: &random), Tensor(normal: [20, 512], from: &random))
        let held = FloatMatrix(w, as: .bfloat16)
        #expect(maxDifference(held.product(many), matmul(many, .asStored, w, .transposed)) < 1e-3)
        let alone = withThreads(1) { held.product(one).elements }
        #expect(withThreads(3) { held.product(one).elements } == alone)
    }

    /// Many works, one after the other and from several threads at once.
    @Test func `every part of every work is done once`() async {
        await withTaskGroup(of: Bool.self) { group in
            for task in 0..<3 {
                group.addTask {
                    var isRight = true
                    for round in 0..<300 {
                        let count = 1 + (round * 7 + task) % 40
                        let marks = Tensor(zeros: [count])
                        nonisolated(unsafe) let pointer = UnsafeMutablePointer(mutating: marks.pointer)
                        Team.share(count, in: 4) { range in for index in range { pointer[index] += 1 } }
                        isRight = isRight && marks.elements == [Float](repeating: 1, count: count)
                    }
                    return isRight
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }
}
