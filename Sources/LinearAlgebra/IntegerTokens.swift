internal import CKernels
package import TensorCore

/// How a product of integers rounds its tokens, as docs/algorithms.md, section 2, says for activations.
package struct TokenRounding: Sendable, Equatable {
    /// 2 to 8.
    package var bits: Int
    package var symmetric: Bool
    package var symmetricRange: SymmetricRange
    /// Asymmetric ranges are widened to contain 0.
    package var includesZero: Bool
    package var clipRatio: Float
    /// Successive columns that share a range; nil for all of a token.
    package var range: Int?

    /// - Precondition: 2 to 8 bits.
    package init(
        bits: Int = 8, symmetric: Bool = true, symmetricRange: SymmetricRange = .restricted, includesZero: Bool = true,
        clipRatio: Float = 1, range: Int? = nil
    ) {
        precondition((2...8).contains(bits), "tokens of \(bits) bits")
        (self.bits, self.symmetric, self.includesZero, self.clipRatio) = (bits, symmetric, includesZero, clipRatio)
        (self.symmetricRange, self.range) = (symmetricRange, range)
    }
}

/// Tokens as integers of at most 8 bits, x̂ = (code − zero)·scale, laid out for ``IntegerMatrix``.
package struct IntegerTokens: Sendable {
    package let count: Int, columns: Int
    /// Columns that the matrix sums at a time.
    package let group: Int
    package let hasZeros: Bool
    private let codes: ByteStorage
    private let sums: ByteStorage
    private let scales: ByteStorage
    private let zeros: ByteStorage?

    /// Rounds each row of x, whose columns are multiplied by `factor` first.
    ///
    /// The codes, scales and zero points are bit for bit those of the fake-quantized tokens. A range with an entry that is not
    /// finite makes the scale, and so the product, NaN.
    ///
    /// - Precondition: columns; ranges are whole numbers of groups, unless one covers the token.
    package init(rounding x: Tensor, by rounding: TokenRounding, group: Int, factor: [Float]? = nil) {
        self.init(rounding: x.pointer, count: x.rows, columns: x.columns, by: rounding, group: group, factor: factor)
    }

    /// The same of `count` rows in memory.
    package init(
        rounding x: UnsafePointer<Float>, count: Int, columns: Int, by rounding: TokenRounding, group: Int,
        factor: [Float]? = nil
    ) {
        let range = rounding.range ?? columns
        precondition(
            columns > 0 && (1...IntegerMatrix.largestGroup).contains(group), "rows of \(columns) in groups of \(group)")
        precondition(range >= columns || range % group == 0, "ranges of \(range) over groups of \(group)")
        precondition(factor.map { $0.count == columns } ?? true, "\(factor?.count ?? 0) factors for \(columns) columns")
        (self.count, self.columns, self.group, hasZeros) = (count, columns, group, !rounding.symmetric)
        let row = ck_integer_row(columns: columns, group: group)
        let entries = count * ck_integer_groups(row)
        codes = ByteStorage(uninitialized: count * ck_integer_steps(row) * 4)
        (sums, scales) = (ByteStorage(uninitialized: 4 * entries), ByteStorage(uninitialized: 4 * entries))
        zeros = hasZeros ? ByteStorage(uninitialized: 4 * entries) : nil
        guard count > 0 else { return }
        let quantizer = ck_quantizer(
            bits: Int32(rounding.bits), symmetric: rounding.symmetric ? 1 : 0, include_zero: rounding.includesZero ? 1 : 0,
            clip_ratio: rounding.clipRatio, least_magnitude: 0, full_range: rounding.symmetricRange == .full ? 1 : 0)
        // Whole tiles: each lies where it would if one thread rounded all.
        let (tile, whole) = (ck_integer_tile(count), kernel)
        Team.share((count + tile - 1) / tile, cost: 4 * tile * columns) { tiles in
            let (first, last) = (tiles.lowerBound * tile, min(count, tiles.upperBound * tile))
            let scratch = ByteStorage(uninitialized: 5 * columns)
            var out = whole.tokens(first..<last, row)
            ck_integer_round(
                x + first * columns, factor, row, quantizer, range, &out,
                scratch.pointer.assumingMemoryBound(to: Float.self),
                (scratch.pointer + 4 * columns).assumingMemoryBound(to: Int8.self))
        }
    }

    /// What the kernels take; valid while these tokens are.
    var kernel: ck_integer_tokens {
        ck_integer_tokens(
            tokens: count, codes: codes.pointer.assumingMemoryBound(to: Int8.self),
            sums: sums.pointer.assumingMemoryBound(to: Int32.self), scales: scales.pointer.assumingMemoryBound(to: Float.self),
            zeros: zeros?.pointer.assumingMemoryBound(to: Float.self))
    }
}

extension ck_integer_tokens {
    /// Some of the tokens, from the beginning of a tile to the end of one.
    fileprivate func tokens(_ range: Range<Int>, _ row: ck_integer_row) -> ck_integer_tokens {
        let (first, groups) = (range.lowerBound, ck_integer_groups(row))
        return ck_integer_tokens(
            tokens: range.count, codes: codes + 4 * ck_integer_steps(row) * first, sums: sums + groups * first,
            scales: scales + groups * first, zeros: zeros.map { $0 + groups * first })
    }
}
