import Synchronization
import Testing

@testable import TensorCore

@Suite struct StoredTensorTests {
    private func matrix() -> Tensor {
        var random = RandomStream(seed: 3)
        return Tensor(normal: [13, 7], from: &random)
    }

    @Test func `bfloat16 is exact where the elements came from it, and rounds to its eight digits elsewhere`() {
        let once = StoredTensor(roundingToBFloat16: matrix())
        #expect(StoredTensor(roundingToBFloat16: once.tensor).tensor.elements == once.tensor.elements)
        for (rounded, exact) in zip(once.tensor.elements, matrix().elements) {
            #expect(abs(rounded - exact) <= abs(exact) / 256)
        }
        #expect(once.tensor.elements != matrix().elements)
    }

    @Test func `changes made later give the bits of changes made at once`() {
        let half = StoredTensor(roundingToBFloat16: matrix())
        let changes: (StoredTensor) -> StoredTensor = { value in
            value.mapped { $0.scale(by: 0.3) }.mapped { $0.add(Tensor(repeating: 0.1, [13, 7])) }
        }
        let later = changes(half)
        #expect(later.tensor.elements == changes(half.held).tensor.elements)
        #expect(later.tensor.elements == later.tensor.elements, "asking twice changes it")
        #expect(half.tensor.elements != later.tensor.elements, "the source was changed")
        #expect(changes(half.held.deferred).tensor.elements == later.tensor.elements)
    }

    @Test func `picked rows are the matrix's rows`() {
        let half = StoredTensor(roundingToBFloat16: matrix())
        let byRow = half.mappedRows { $0.scale(by: 2) }.deferred
        for value in [half, half.held, half.mapped { $0.scale(by: 2) }, byRow, StoredTensor(packing: half.tensor)] {
            let rows = value.rows(at: [12, 0, 12])
            #expect(rows.shape == [3, 7])
            #expect(rows.elements == [12, 0, 12].flatMap { value.tensor.rows($0..<$0 + 1).elements })
        }
    }

    @Test func `rows changed some at a time are those of the whole matrix changed at once`() {
        var random = RandomStream(seed: 5)
        let matrix = Tensor(normal: [2500, 700], from: &random)
        for value in [StoredTensor(matrix), StoredTensor(roundingToBFloat16: matrix)] {
            let calls = Mutex(0)
            let changed = value.mappedRows { rows in
                calls.withLock { $0 += 1 }
                for row in 0..<rows.rows { rows[row, 699] = -rows[row, 0] }
            }
            var expected = value.tensor
            for row in 0..<2500 { expected[row, 699] = -expected[row, 0] }
            #expect(changed.tensor.elements == expected.elements)
            #expect(calls.withLock { $0 } > 1)
            #expect(value.tensor[7, 699] != -value.tensor[7, 0], "the source was changed")
        }
    }

    @Test func `a packed table is what it was, and float32 once it is changed`() {
        let exact = StoredTensor(roundingToBFloat16: matrix()).held
        let packed = StoredTensor(packing: exact.tensor)
        #expect(packed.tensor.elements == exact.tensor.elements)
        #expect(packed.deferred.tensor.elements == exact.tensor.elements)
        let changed = packed.mapped { $0.scale(by: 0.3) }
        #expect(changed.tensor.elements == exact.mapped { $0.scale(by: 0.3) }.tensor.elements)
        // Made once, for good.
        #expect(changed.tensor.storage === changed.tensor.storage)
    }

    @Test func `only what is one in memory is identical`() {
        let half = StoredTensor(roundingToBFloat16: matrix())
        let changed = half.mapped { $0.scale(by: 2) }
        let copies = [half, changed, half.held, StoredTensor(packing: half.tensor)]
        for (i, a) in copies.enumerated() {
            for (j, b) in copies.enumerated() { #expect(a.isIdentical(to: b) == (i == j)) }
        }
        #expect(!half.held.isIdentical(to: half.held))
    }
}
