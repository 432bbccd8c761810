internal import CKernels
package import TensorCore

/// A matrix of −1, 0 and 1 with one bit per entry and one per non-zero: at most two bits per entry, and 1.2 where a fifth are
/// not 0.
///
/// Its form in memory, in files and between ranks (``bytes``): the mask, a bit for each entry, row-major without padding, set
/// where the entry is not 0; then the signs, a bit for each non-zero in the same order, set where it is −1. The lowest bit of a
/// byte comes first. Mask and signs are each padded to a byte with zeros.
package struct PackedTernary: Sendable, Equatable {
    package let rows: Int, columns: Int
    package let nonzeros: Int
    /// The bytes, and the padding that kernels may read beyond them.
    private let storage: [UInt8]

    /// - Precondition: two axes; every element is −1, 0 or 1.
    package init(_ t: Tensor) {
        precondition(t.withElements { $0.allSatisfy { $0 == 0 || $0 == 1 || $0 == -1 } }, "entries other than −1, 0, 1")
        (rows, columns, nonzeros) = (t.shape[0], t.shape[1], t.nonzeroCount)
        let count = Self.maskBytes(rows: rows, columns: columns) + Self.bytes(bits: nonzeros)
        var storage = [UInt8](repeating: 0, count: count + Self.slack)
        ck_ternary_pack(t.pointer, t.count, &storage)
        self.storage = storage
    }

    /// - Returns: nil where a bit beyond the last entry or the last sign is set, or where the number of signs differs from the
    ///   number of set bits in the mask.
    package init?(bytes: [UInt8], rows: Int, columns: Int) {
        let maskBytes = Self.maskBytes(rows: rows, columns: columns)
        guard bytes.count >= maskBytes, Self.endsClean(bytes[..<maskBytes], bits: rows * columns) else { return nil }
        let storage = bytes + [UInt8](repeating: 0, count: Self.slack)
        let nonzeros = ck_ternary_count(storage, rows * columns)
        let signs = bytes[maskBytes...]
        guard signs.count == Self.bytes(bits: nonzeros), Self.endsClean(signs, bits: nonzeros) else { return nil }
        (self.rows, self.columns, self.nonzeros, self.storage) = (rows, columns, nonzeros, storage)
    }

    /// The mask and the signs, which ``init(bytes:rows:columns:)`` reads.
    package var bytes: [UInt8] { Array(storage.dropLast(Self.slack)) }

    /// Bytes of a mask.
    package static func maskBytes(rows: Int, columns: Int) -> Int { bytes(bits: rows * columns) }

    /// Bytes of the signs that follow a mask.
    package static func signBytes(mask: [UInt8]) -> Int { bytes(bits: mask.reduce(0) { $0 + $1.nonzeroBitCount }) }

    /// The most that a matrix can take: where no entry is 0.
    package static func maximumBytes(rows: Int, columns: Int) -> Int { 2 * maskBytes(rows: rows, columns: columns) }

    private static let slack = Int(CK_TERNARY_SLACK)

    private static func bytes(bits: Int) -> Int { (bits + 7) / 8 }

    /// Whether the last byte has no bit set after the first `bits` bits in all.
    private static func endsClean(_ bytes: ArraySlice<UInt8>, bits: Int) -> Bool {
        bits % 8 == 0 || bytes.last.map { $0 >> UInt8(bits % 8) == 0 } ?? true
    }

    /// As floats, `[rows, columns]`.
    package var unpacked: Tensor {
        var result = Tensor(uninitialized: [rows, columns])
        ck_ternary_unpack(storage, rows * columns, result.mutablePointer)
        return result
    }

    /// Writes some rows as codes 0, 1 and 2 for −1, 0 and 1. There are `position` non-zeros before these rows.
    ///
    /// - Returns: the non-zeros before the end of these rows.
    func writeCodes(of rows: Range<Int>, after position: Int, to codes: UnsafeMutablePointer<UInt8>) -> Int {
        ck_ternary_codes(storage, self.rows * columns, rows.lowerBound * columns, rows.count * columns, position, codes)
    }

    /// Bytes held.
    package var byteCount: Int { storage.count }

    /// Tokens that go through a product together.
    static let lanes = Int(CK_TERNARY_LANES)

    /// y ← T·x for one block: x is `[columns, lanes]`, y is `[rows, lanes]`. It takes one addition per non-zero.
    func apply(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>) {
        ck_ternary_apply(storage, rows, columns, x, y)
    }

    /// x·Tᵀ for x `[tokens, columns]`: `[tokens, rows]`.
    package func apply(_ x: Tensor) -> Tensor {
        precondition(x.columns == columns, "a \(rows)×\(columns) ternary matrix for \(x.shape)")
        var result = Tensor(uninitialized: [x.rows, rows])
        let (target, lanes) = (result.mutablePointer, Self.lanes)
        Team.share((x.rows + lanes - 1) / lanes, cost: lanes * nonzeros / 8) { blocks in
            var (block, image) = (Tensor(uninitialized: [columns, lanes]), Tensor(uninitialized: [rows, lanes]))
            for first in blocks.map({ $0 * lanes }) {
                TokenBlock.gather(x, from: first, scale: nil, into: &block)
                apply(block.pointer, into: image.mutablePointer)
                TokenBlock.scatter(image, scale: nil, into: target, from: first, of: x.rows)
            }
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

    /// result[first + t, i] ← block[i, t]·scale[i], for a result of `tokens` rows.
    static func scatter(
        _ block: Tensor, scale: [Float]?, into target: UnsafeMutablePointer<Float>, from first: Int, of tokens: Int
    ) {
        let (m, lanes) = (block.rows, PackedTernary.lanes)
        let count = min(lanes, tokens - first)
        let source = block.pointer
        for i in 0..<m {
            let factor = scale?[i] ?? 1
            for t in 0..<count { target[(first + t) * m + i] = source[i * lanes + t] * factor }
        }
    }
}
