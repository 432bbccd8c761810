internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// The product with ternary factors in integers: tokens and components are rounded to 8 bits, and the additions of U and V are
/// made on bytes.
///
/// For each token, with ⌊·⌉₈ the rounding to codes −127 … 127 by the largest magnitude:
///
///     (x̂, d₁) = ⌊b∘x⌉₈     z = s∘(V·x̂)·d₁     (ẑ, d₂) = ⌊z⌉₈     y = a∘(U·ẑ)·d₂
///
/// V·x̂ and U·ẑ are exact sums of 32 bits. `TernaryFactors/apply(_:)` is the product without rounding, and
/// `TernaryFactors/fakeQuantizedProduct(_:)` the same in floats. Factors take two bits an entry here.
package struct IntegerTernaryProduct: Sendable {
    package let rows: Int, columns: Int
    private let b: [Float]?
    /// nil where a factor has no entry: the product is 0.
    private let factors: (u: IntegerMatrix, v: IntegerMatrix)?

    package init(_ factors: TernaryFactors) {
        (rows, columns, b) = (factors.u.rows, factors.v.columns, factors.balance?.b)
        let a = factors.balance?.a
        guard rows > 0, columns > 0, factors.rank > 0 else {
            self.factors = nil
            return
        }
        self.factors = (factors.u.integers { a?[$0] ?? 1 }, factors.v.integers { factors.s[$0] })
    }

    /// Bytes held.
    package var byteCount: Int { factors.map { $0.u.byteCount + $0.v.byteCount } ?? 0 }

    /// Tokens whose components wait in the caches between V and U.
    private static let block = 24

    /// y for each row of x, `[…, columns]`: `[…, rows]`.
    package func apply(_ x: Tensor) -> Tensor {
        precondition(x.columns == columns, "a layer of \(columns) inputs for \(x.shape)")
        let shape = Array(x.shape.dropLast()) + [rows]
        guard let (u, v) = factors else { return Tensor(zeros: shape) }
        var result = Tensor(uninitialized: shape)
        let target = result.mutablePointer
        let rounding = TokenRounding()
        var components = Tensor(uninitialized: [min(Self.block, x.rows), v.rows])
        for first in stride(from: 0, to: x.rows, by: Self.block) {
            let count = min(Self.block, x.rows - first)
            let tokens = IntegerTokens(
                rounding: x.pointer + first * columns, count: count, columns: columns, by: rounding, group: v.group, factor: b)
            v.multiply(tokens, into: components.mutablePointer, stride: v.rows)
            let inner = IntegerTokens(
                rounding: components.pointer, count: count, columns: u.columns, by: rounding, group: u.group)
            u.multiply(inner, into: target + first * rows, stride: rows)
        }
        return result
    }
}

extension PackedTernary {
    /// The matrix as codes 0, 1, 2 with zero point 1 and a scale a row.
    fileprivate func integers(scale: (_ row: Int) -> Float) -> IntegerMatrix {
        var position = 0
        return IntegerMatrix(
            rows: rows, columns: columns, group: min(columns, IntegerMatrix.largestGroup), bits: 2, zeros: .all(1),
            forTokensWithZeros: false, scale: { row, _ in scale(row) }
        ) { position = writeCodes(of: $0, after: position, to: $1) }
    }
}

extension TernaryFactors {
    /// What ``IntegerTernaryProduct`` computes, in floats: b∘x and the components are rounded to 8 bits and back.
    package func fakeQuantizedProduct(_ x: Tensor) -> Tensor {
        precondition(x.columns == v.columns, "a layer of \(v.columns) inputs for \(x.shape)")
        let shape = Array(x.shape.dropLast()) + [u.rows]
        guard rank > 0, v.columns > 0 else { return Tensor(zeros: shape) }
        var tokens = x.reshaped([x.rows, v.columns])
        if let b = balance?.b { tokens.scaleColumns(by: b) }
        var components = v.apply(tokens.roundedRows())
        components.scaleColumns(by: s)
        var result = u.apply(components.roundedRows())
        if let a = balance?.a { result.scaleColumns(by: a) }
        return result.reshaped(shape)
    }
}

extension Tensor {
    fileprivate mutating func scaleColumns(by factors: [Float]) {
        let (rows, columns, target) = (rows, columns, mutablePointer)
        for row in 0..<rows {
            for column in 0..<columns { target[row * columns + column] *= factors[column] }
        }
    }

    /// Each row rounded to 255 multiples of its largest magnitude's 127th.
    fileprivate func roundedRows() -> Tensor {
        guard count > 0 else { return self }
        var result = Tensor(uninitialized: shape)
        let quantizer = ck_quantizer(bits: 8, symmetric: 1, include_zero: 1, clip_ratio: 1, least_magnitude: 0)
        ck_fake_quantize(pointer, result.mutablePointer, rows, columns, quantizer, nil, nil, nil)
        return result
    }
}
