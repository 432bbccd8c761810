internal import CKernels

/// A dense float32 array: a value, contiguous, row-major, copied when written to while shared.
package struct Tensor: @unchecked Sendable {
    /// Extents, slowest first; `[]` is a scalar.
    package private(set) var shape: [Int]
    /// Number of elements.
    package let count: Int
    var storage: Storage

    /// A tensor whose elements have no defined value yet: for outputs that a kernel fills completely.
    package init(uninitialized shape: [Int]) {
        self.shape = shape
        count = shape.reduce(1, *)
        storage = Storage(count: count)
    }

    /// A tensor of zeros.
    package init(zeros shape: [Int]) { self.init(repeating: 0, shape) }

    /// A tensor with this value everywhere.
    package init(repeating value: Float, _ shape: [Int]) {
        self.init(uninitialized: shape)
        storage.base.update(repeating: value, count: count)
    }

    /// - Precondition: `elements.count` is the product of `shape`.
    package init(_ elements: [Float], _ shape: [Int]) {
        self.init(uninitialized: shape)
        precondition(elements.count == count, "\(elements.count) elements do not fill shape \(shape)")
        elements.withUnsafeBufferPointer { source in
            if let base = source.baseAddress { storage.base.update(from: base, count: count) }
        }
    }

    /// The n×n identity.
    package init(identity n: Int) {
        self.init(zeros: [n, n])
        for i in 0..<n { storage.base[i * n + i] = 1 }
    }

    /// Extent of the last axis; 1 for a scalar.
    package var columns: Int { shape.last ?? 1 }
    /// Product of all extents but the last.
    package var rows: Int { columns == 0 ? 0 : count / columns }

    package var elements: [Float] { Array(UnsafeBufferPointer(start: storage.base, count: count)) }

    /// An element by its place in row-major order.
    package subscript(flat index: Int) -> Float {
        get {
            precondition(index >= 0 && index < count, "index \(index) outside \(shape)")
            return storage.base[index]
        }
        set {
            precondition(index >= 0 && index < count, "index \(index) outside \(shape)")
            makeUnique()
            storage.base[index] = newValue
        }
    }

    /// An element of a matrix.
    package subscript(row: Int, column: Int) -> Float {
        get { self[flat: row * columns + column] }
        set { self[flat: row * columns + column] = newValue }
    }

    /// The same elements under another shape of equal size.
    package func reshaped(_ shape: [Int]) -> Tensor {
        precondition(shape.reduce(1, *) == count, "\(self.shape) does not reshape to \(shape)")
        var result = self
        result.shape = shape
        return result
    }

    /// A tensor with its own memory.
    package func copy() -> Tensor {
        var result = self
        result.makeUnique()
        return result
    }

    /// Elements `range` in row-major order, copied to a vector.
    package func slice(_ range: Range<Int>) -> Tensor { reshaped([count, 1]).rows(range).reshaped([range.count]) }

    /// Rows `range` of the tensor seen as `[rows, columns]`, copied.
    package func rows(_ range: Range<Int>) -> Tensor {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) outside \(shape)")
        let result = Tensor(uninitialized: [range.count, columns])
        result.storage.base.update(from: storage.base + range.lowerBound * columns, count: result.count)
        return result
    }

    /// The matrix transposed. - Precondition: two axes.
    package func transposed() -> Tensor {
        precondition(shape.count == 2, "transpose of \(shape)")
        let (m, n) = (shape[0], shape[1])
        let result = Tensor(uninitialized: [n, m])
        ck_transpose(storage.base, m, n, result.storage.base)
        return result
    }
}
