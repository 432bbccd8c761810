internal import CKernels
package import TensorCore

/// A matrix of −1, 0 and 1 at two bits an entry: one plane of bits for the ones, one for the minus ones, rows without padding.
package struct PackedTernary: Sendable, Equatable {
    package let rows: Int, columns: Int
    let plus: [UInt8], minus: [UInt8]

    /// - Precondition: two axes; every element is −1, 0 or 1.
    package init(_ t: Tensor) {
        precondition(t.withElements { $0.allSatisfy { $0 == 0 || $0 == 1 || $0 == -1 } }, "entries other than −1, 0, 1")
        (rows, columns) = (t.shape[0], t.shape[1])
        var (plus, minus) = (Self.plane(t.count), Self.plane(t.count))
        ck_ternary_pack(t.pointer, t.count, &plus, &minus)
        (self.plus, self.minus) = (plus, minus)
    }

    /// From two-bit codes, four to a byte, the lowest bits first: 0, 1 (one), 2 (minus one).
    ///
    /// - Returns: nil where a code is 3, a bit beyond the last entry is set, or the length is not that of rows·columns codes.
    package init?(codes: [UInt8], rows: Int, columns: Int) {
        let count = rows * columns
        guard codes.count == (count + 3) / 4 else { return nil }
        var (plus, minus) = (Self.plane(count), Self.plane(count))
        for (index, byte) in codes.enumerated() {
            guard byte & (byte >> 1) & 0x55 == 0 else { return nil }
            // Four entries: half a byte of each plane.
            let shift = UInt8(index & 1) * 4
            plus[index >> 1] |= Self.evenBits(byte) << shift
            minus[index >> 1] |= Self.evenBits(byte >> 1) << shift
        }
        if count % 4 != 0, let last = codes.last, last >> UInt8(2 * (count % 4)) != 0 { return nil }
        (self.rows, self.columns, self.plus, self.minus) = (rows, columns, plus, minus)
    }

    /// The two-bit codes that ``init(codes:rows:columns:)`` reads.
    package var codes: [UInt8] {
        let count = rows * columns
        return (0..<(count + 3) / 4).map { index in
            let shift = UInt8(index & 1) * 4
            return Self.spread(plus[index >> 1] >> shift & 15) | Self.spread(minus[index >> 1] >> shift & 15) << 1
        }
    }

    /// Bits 0, 2, 4 and 6, moved together.
    private static func evenBits(_ byte: UInt8) -> UInt8 {
        let pairs = (byte & 0x55 | (byte & 0x55) >> 1) & 0x33
        return (pairs | pairs >> 2) & 0x0F
    }

    /// Its inverse.
    private static func spread(_ half: UInt8) -> UInt8 {
        let pairs = (half | half << 2) & 0x33
        return (pairs | pairs << 1) & 0x55
    }

    private static func plane(_ count: Int) -> [UInt8] {
        [UInt8](repeating: 0, count: (count + 7) / 8 + Int(CK_TERNARY_SLACK))
    }

    /// As floats, `[rows, columns]`.
    package var unpacked: Tensor {
        var result = Tensor(uninitialized: [rows, columns])
        ck_ternary_unpack(plus, minus, rows * columns, result.mutablePointer)
        return result
    }

    package var nonzeros: Int { ck_ternary_count(plus, rows * columns) + ck_ternary_count(minus, rows * columns) }

    /// Bytes held.
    package var byteCount: Int { plus.count + minus.count }

    /// Tokens that go through a product together.
    static let lanes = Int(CK_TERNARY_LANES)

    /// y ← T·x for one block: x is `[columns, lanes]`, y is `[rows, lanes]`. As many additions as there are non-zeros.
    func apply(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>) {
        ck_ternary_apply(plus, minus, rows, columns, x, y)
    }

    /// x·Tᵀ for x `[tokens, columns]`: `[tokens, rows]`.
    package func apply(_ x: Tensor) -> Tensor {
        precondition(x.columns == columns, "a \(rows)×\(columns) ternary matrix for \(x.shape)")
        var (block, image) = (Tensor(uninitialized: [columns, Self.lanes]), Tensor(uninitialized: [rows, Self.lanes]))
        var result = Tensor(uninitialized: [x.rows, rows])
        for first in stride(from: 0, to: x.rows, by: Self.lanes) {
            TokenBlock.gather(x, from: first, scale: nil, into: &block)
            apply(block.pointer, into: image.mutablePointer)
            TokenBlock.scatter(image, scale: nil, into: &result, from: first)
        }
        return result
    }
}

/// A block of tokens with the tokens innermost, so that one addition serves all of them.
enum TokenBlock {
    /// block[j, t] ← x[first + t, j]·scale[j]; zeros beyond the last token.
    static func gather(_ x: Tensor, from first: Int, scale: [Float]?, into block: inout Tensor) {
        let (n, lanes) = (x.columns, PackedTernary.lanes)
        let count = min(lanes, x.rows - first)
        let target = block.mutablePointer
        if count < lanes { target.update(repeating: 0, count: n * lanes) }
        for t in 0..<count {
            let row = x.pointer + (first + t) * n
            for j in 0..<n { target[j * lanes + t] = row[j] }
        }
        if let scale { for j in 0..<n { ck_scale(scale[j], target + j * lanes, lanes) } }
    }

    /// result[first + t, i] ← block[i, t]·scale[i].
    static func scatter(_ block: Tensor, scale: [Float]?, into result: inout Tensor, from first: Int) {
        let (m, lanes) = (result.columns, PackedTernary.lanes)
        let count = min(lanes, result.rows - first)
        let (source, target) = (block.pointer, result.mutablePointer)
        for i in 0..<m {
            let factor = scale?[i] ?? 1
            for t in 0..<count { target[(first + t) * m + i] = source[i * lanes + t] * factor }
        }
    }
}
