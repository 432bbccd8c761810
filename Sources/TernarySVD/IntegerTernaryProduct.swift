internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// The product with ternary factors in integers: tokens and components are rounded to 8 bits, and the additions of U and V work
/// on bytes.
///
/// For each token, with ⌊·⌉₈ the rounding to codes −127 … 127 by the largest magnitude:
///
///     (x̂, d₁) = ⌊b∘x⌉₈     z = s∘(V·x̂)·d₁     (ẑ, d₂) = ⌊z⌉₈     y = a∘(U·ẑ)·d₂
///
/// Factors that stand for small whole numbers N = U·diag(s)·V (`DigitColumns`) are multiplied as these, a fraction of the size,
/// and their components are not rounded: y = a∘(N·x̂)·d₁.
///
/// V·x̂, U·ẑ and N·x̂ are exact sums of 32 bits. `TernaryFactors/apply(_:)` is the product without rounding, and
/// `TernaryFactors/fakeQuantizedProduct(_:whole:)` the same in floats. Factors take two bits per entry here, whole numbers 2, 4
/// or 8 bits.
package struct IntegerTernaryProduct: Sendable {
    package let rows: Int, columns: Int
    private let b: [Float]?
    private enum Form {
        /// A factor has no entry.
        case zero
        case factors(u: IntegerMatrix, v: IntegerMatrix)
        case numbers(IntegerMatrix)
    }
    private let form: Form

    /// Lays the factors out for products with integers.
    package init(_ factors: TernaryFactors) {
        (rows, columns, b) = (factors.u.rows, factors.v.columns, factors.balance?.b)
        let a = factors.balance?.a
        guard rows > 0, columns > 0, factors.componentCount > 0 else {
            form = .zero
            return
        }
        if let numbers = factors.wholeNumbers {
            form = .numbers(numbers.integers { a?[$0] ?? 1 })
        } else {
            form = .factors(u: factors.u.integers { a?[$0] ?? 1 }, v: factors.v.integers { factors.s[$0] })
        }
    }

    /// Bytes held.
    package var byteCount: Int {
        switch form {
        case .zero: 0
        case .factors(let u, let v): u.byteCount + v.byteCount
        case .numbers(let matrix): matrix.byteCount
        }
    }

    /// Tokens whose components stay in the caches between V and U.
    private static let block = 24

    /// y for each row of x, `[…, columns]`: `[…, rows]`.
    package func apply(_ x: Tensor) -> Tensor {
        precondition(x.columns == columns, "a layer of \(columns) inputs for \(x.shape)")
        let shape = Array(x.shape.dropLast()) + [rows]
        switch form {
        case .zero: return Tensor(zeros: shape)
        case .factors(let u, let v): return apply(u, v, x, shape)
        case .numbers(let matrix):
            guard x.rows > 0 else { return Tensor(zeros: shape) }
            let tokens = IntegerTokens(
                rounding: x.pointer, count: x.rows, columns: columns, by: TokenRounding(), group: matrix.group, factor: b)
            return matrix.product(tokens).reshaped(shape)
        }
    }

    private func apply(_ u: IntegerMatrix, _ v: IntegerMatrix, _ x: Tensor, _ shape: [Int]) -> Tensor {
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

/// Whole numbers of magnitude at most `most`, by column.
struct WholeMatrix {
    let rows: Int, columns: Int
    let transposed: [Int32]
    let most: Int

    /// The matrix as codes with as few bits as possible.
    fileprivate func integers(scale: (_ row: Int) -> Float) -> IntegerMatrix {
        let (bits, zero) = most <= 1 ? (2, 1) : most <= 7 ? (4, 8) : (8, 128)
        return IntegerMatrix(
            rows: rows, columns: columns, group: min(columns, IntegerMatrix.largestGroup), bits: bits, zeros: .all(zero),
            forTokensWithZeros: false, scale: { row, _ in scale(row) }
        ) { range, codes in
            for (place, row) in range.enumerated() {
                for column in 0..<columns {
                    codes[place * columns + column] = UInt8(Int(transposed[column * rows + row]) + zero)
                }
            }
        }
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
    /// U·diag(s)·V if its entries are whole numbers of 8 bits and no row of V has two entries; otherwise nil.
    var wholeNumbers: WholeMatrix? {
        // Sums of components up to this size still fit into 32 bits.
        let largest: Float = 32768
        guard componentCount < 65536, s.allSatisfy({ abs($0) <= largest && $0 == $0.rounded() }) else { return nil }
        let (m, n, k) = (u.rows, v.columns, componentCount)
        let (columns, rows) = (u.unpacked.transposed(), v.unpacked)
        var transposed = [Int32](repeating: 0, count: n * m)
        for j in 0..<k {
            let places = (0..<n).filter { rows.pointer[j * n + $0] != 0 }
            guard places.count <= 1 else { return nil }
            guard let place = places.first else { continue }
            let scale = Int32(s[j] * rows.pointer[j * n + place])
            for i in 0..<m { transposed[place * m + i] += scale * Int32(columns.pointer[j * m + i]) }
        }
        guard let most = transposed.lazy.map(abs).max(), most <= 127 else { return nil }
        return WholeMatrix(rows: m, columns: n, transposed: transposed, most: Int(most))
    }

    /// Whether ``IntegerTernaryProduct`` multiplies the factors as whole numbers, without rounding components. This takes a
    /// pass over all of U, so keep the answer.
    package var areWholeNumbers: Bool { wholeNumbers != nil }

    /// The result of ``IntegerTernaryProduct`` in floats: b∘x and, except for whole numbers, the components are rounded to 8
    /// bits and back.
    ///
    /// - Parameter whole: ``areWholeNumbers``.
    package func fakeQuantizedProduct(_ x: Tensor, whole: Bool) -> Tensor {
        precondition(x.columns == v.columns, "a layer of \(v.columns) inputs for \(x.shape)")
        let shape = Array(x.shape.dropLast()) + [u.rows]
        guard componentCount > 0, v.columns > 0 else { return Tensor(zeros: shape) }
        var tokens = x.reshaped([x.rows, v.columns])
        if let b = balance?.b { tokens.scaleColumns(by: b) }
        var components = v.apply(tokens.roundedRows())
        components.scaleColumns(by: s)
        var result = u.apply(whole ? components : components.roundedRows())
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
        let quantizer = ck_quantizer(bits: 8, symmetric: 1, include_zero: 1, clip_ratio: 1, least_magnitude: 0, full_range: 0)
        ck_fake_quantize(pointer, result.mutablePointer, rows, columns, quantizer, nil, nil, nil)
        return result
    }
}
