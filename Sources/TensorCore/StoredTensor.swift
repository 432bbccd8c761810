internal import CKernels

/// A weight held in memory, or computed on access.
///
/// Changes of weights (norm fusion, rotation) are written once for both, and give the same bits.
package protocol TensorValue: Sendable {
    var shape: [Int] { get }
    /// The tensor itself. A value that is computed on access is computed here each time: read it once, and release it after
    /// use.
    var tensor: Tensor { get }
    var stored: StoredTensor { get }
    /// The value with its elements changed, its shape kept.
    func mapped(_ change: @escaping @Sendable (inout Tensor) -> Void) -> Self
    /// The same for a matrix whose rows are changed each by itself: some rows at a time, with memory for no more.
    func mappedRows(_ change: @escaping @Sendable (inout Tensor) -> Void) -> Self
}

extension Tensor: TensorValue {
    package var tensor: Tensor { self }
    package var stored: StoredTensor { StoredTensor(self) }

    /// A changed copy.
    package func mapped(_ change: @escaping @Sendable (inout Tensor) -> Void) -> Tensor {
        var result = self
        change(&result)
        return result
    }

    /// A copy, changed some rows at a time.
    package func mappedRows(_ change: @escaping @Sendable (inout Tensor) -> Void) -> Tensor {
        mapped { $0.changeRows(change) }
    }

    /// Elements changed at a time.
    private static let block = 1 << 20

    fileprivate mutating func changeRows(_ change: (inout Tensor) -> Void) {
        let step = max(1, Self.block / max(1, columns))
        guard rows > step else { return change(&self) }
        let target = mutablePointer
        for first in stride(from: 0, to: rows, by: step) {
            var some = rows(first..<min(first + step, rows))
            change(&some)
            (target + first * columns).update(from: some.pointer, count: some.count)
        }
    }
}

/// A tensor kept in float32, or a frozen one kept in bfloat16 and widened where it is used, or in the form of a
/// ``LinearOperator``, which may be a matrix that stays in its file.
///
/// Changes to a float32 tensor are made at once. Changes to any other are recorded and made at each access: memory holds the
/// bfloat16 elements, and float32 elements only while they are used. A packed tensor is between the two: bfloat16 until it is
/// changed, float32 from then on.
package struct StoredTensor: TensorValue {
    private enum Content {
        case float32(Tensor)
        case bfloat16(Elements)
        case packed(Elements)
        case changed(Change)
        case form(Form)
    }

    private final class Form: Sendable {
        let form: any LinearOperator
        init(_ form: any LinearOperator) { self.form = form }
    }

    private final class Elements: Sendable {
        let bits: [UInt16]

        init(rounding tensor: Tensor) {
            bits = [UInt16](unsafeUninitializedCapacity: tensor.count) { buffer, count in
                if let target = buffer.baseAddress { ck_narrow_bf16(tensor.pointer, target, tensor.count) }
                count = tensor.count
            }
        }
    }

    private final class Change: Sendable {
        let source: StoredTensor
        /// Whether every row is changed by itself.
        let isByRow: Bool
        let change: @Sendable (inout Tensor) -> Void

        init(_ source: StoredTensor, isByRow: Bool, _ change: @escaping @Sendable (inout Tensor) -> Void) {
            self.source = source
            self.isByRow = isByRow
            self.change = change
        }
    }

    package let shape: [Int]
    private let content: Content

    /// A tensor that is kept as it is, in float32.
    package init(_ tensor: Tensor) {
        shape = tensor.shape
        content = .float32(tensor)
    }

    /// The elements rounded to bfloat16: to nearest, ties to even; exact where they came from bfloat16.
    package init(roundingToBFloat16 tensor: Tensor) {
        shape = tensor.shape
        content = .bfloat16(Elements(rounding: tensor))
    }

    /// The elements in bfloat16, for a table of which a few rows are looked up at a time.
    ///
    /// - Precondition: they came from bfloat16, so that nothing is rounded.
    package init(packing tensor: Tensor) {
        shape = tensor.shape
        content = .packed(Elements(rounding: tensor))
    }

    /// A matrix in another form than floats. A changed one is computed as floats.
    package init(_ form: any LinearOperator) {
        shape = form.shape
        content = .form(Form(form))
    }

    /// The form from which products are computed; nil where they are computed from floats.
    package var linearOperator: (any LinearOperator)? { if case .form(let form) = content { form.form } else { nil } }

    private init(_ change: Change) {
        shape = change.source.shape
        content = .changed(change)
    }

    package var stored: StoredTensor { self }

    package var tensor: Tensor {
        switch content {
        case .float32(let tensor): return tensor
        case .bfloat16(let elements), .packed(let elements): return widened(elements)
        case .changed(let change):
            var tensor = change.source.tensor
            if change.isByRow { tensor.changeRows(change.change) } else { change.change(&tensor) }
            return tensor
        case .form(let form): return form.form.tensor
        }
    }

    /// The value with its elements changed, at once or at each access.
    package func mapped(_ change: @escaping @Sendable (inout Tensor) -> Void) -> StoredTensor {
        switch content {
        case .float32, .packed: StoredTensor(tensor.mapped(change))
        case .bfloat16, .changed, .form: StoredTensor(Change(self, isByRow: false, change))
        }
    }

    /// As ``mapped(_:)``, changed some rows at a time.
    package func mappedRows(_ change: @escaping @Sendable (inout Tensor) -> Void) -> StoredTensor {
        switch content {
        case .float32, .packed: StoredTensor(tensor.mappedRows(change))
        case .bfloat16, .changed, .form: StoredTensor(Change(self, isByRow: true, change))
        }
    }

    /// The same tensor with further changes made at each access: for a value that is used once or twice.
    package var deferred: StoredTensor {
        switch content {
        case .float32, .packed: StoredTensor(Change(self, isByRow: true) { _ in })
        case .bfloat16, .changed, .form: self
        }
    }

    /// Whether it is in memory, in any form; if not, it is read from its file, and its changes are made again, at each access.
    package var isResident: Bool {
        switch content {
        case .float32, .bfloat16, .packed: true
        case .changed(let change): change.source.isResident
        case .form(let form): form.form.isResident
        }
    }

    /// The same tensor for a value that is used many times: in float32 from now on, unless it has another form or is in a file.
    package var held: StoredTensor { linearOperator == nil && isResident ? StoredTensor(tensor) : self }

    /// Whether both are the same tensor in memory, so that it need not be computed twice.
    package func isIdentical(to other: StoredTensor) -> Bool {
        switch (content, other.content) {
        case (.float32(let a), .float32(let b)): a.storage === b.storage
        case (.bfloat16(let a), .bfloat16(let b)), (.packed(let a), .packed(let b)): a === b
        case (.changed(let a), .changed(let b)): a === b
        case (.form(let a), .form(let b)): a === b
        default: false
        }
    }

    /// Rows picked by `indices` from a matrix [n, h]: [indices.count, h].
    ///
    /// - Precondition: every index is a row.
    package func rows(at indices: [Int32]) -> Tensor {
        if case .form(let form) = content { return form.form.rows(at: indices) }
        if case .changed(let change) = content, change.isByRow {
            var rows = change.source.rows(at: indices)
            change.change(&rows)
            return rows
        }
        let h = shape.last ?? 1
        var result = Tensor(uninitialized: [indices.count, h])
        let target = result.mutablePointer
        func pick(_ copy: (_ row: Int, _ target: UnsafeMutablePointer<Float>) -> Void) {
            for (place, index) in indices.enumerated() {
                precondition(index >= 0 && index < shape[0], "row \(index) of \(shape)")
                copy(Int(index), target + place * h)
            }
        }
        switch content {
        case .bfloat16(let elements), .packed(let elements):
            elements.bits.withUnsafeBufferPointer { bits in
                guard let source = bits.baseAddress else { return }
                pick { row, target in ck_widen_bf16(source + row * h, target, h) }
            }
        case .float32, .changed, .form:
            let source = tensor
            pick { row, target in target.update(from: source.pointer + row * h, count: h) }
        }
        return result
    }

    private func widened(_ elements: Elements) -> Tensor {
        var result = Tensor(uninitialized: shape)
        elements.bits.withUnsafeBufferPointer { bits in
            guard let source = bits.baseAddress else { return }
            let target = result.mutablePointer
            Team.shareElements(bits.count) { ck_widen_bf16(source + $0.lowerBound, target + $0.lowerBound, $0.count) }
        }
        return result
    }
}
