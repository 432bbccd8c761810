package import Autograd
internal import CKernels
internal import LinearAlgebra
internal import TensorCore

/// How a cache keeps the keys, or the values, of each head and token.
package struct CachePrecision: Sendable, Equatable {
    /// 16: in half precision, times a power of two for each head and token; 2 to 8: as integers with a scale and a zero point
    /// for each head and token.
    package var bits: Int
    package var symmetric: Bool
    /// Asymmetric ranges are widened to contain 0.
    package var includesZero: Bool
    /// Scales the range; values outside are clamped.
    package var clipRatio: Float

    /// - Precondition: 2 to 8 bits, or 16; a positive clip ratio.
    package init(bits: Int = 16, symmetric: Bool = false, includesZero: Bool = false, clipRatio: Float = 1) {
        precondition(
            ((2...8).contains(bits) || bits == 16) && clipRatio > 0, "a cache of \(bits) bits, clip ratio \(clipRatio)")
        (self.bits, self.symmetric, self.includesZero, self.clipRatio) = (bits, symmetric, includesZero, clipRatio)
    }

    /// Bits that a number takes in memory.
    fileprivate var storedBits: Int32 { bits == 16 ? 16 : bits > 4 ? 8 : 4 }

    fileprivate var quantizer: ck_quantizer {
        ck_quantizer(
            bits: Int32(bits), symmetric: symmetric ? 1 : 0, include_zero: includesZero ? 1 : 0, clip_ratio: clipRatio,
            least_magnitude: 0, full_range: 0)
    }
}

/// Keys and values of one sequence, so that new tokens attend to those before them without computing these again.
///
/// What is put in is rounded as ``CachePrecision`` says, and new tokens see themselves as rounded too: many tokens at once give
/// what one after the other would. With integers these are the bits of a quantizer at the hook points of keys and values.
package final class KeyValueCache: AttentionContext {
    /// Tokens that there is room for.
    package let capacity: Int
    /// Tokens in the cache: the position of the next.
    package private(set) var position = 0
    private let firstBlock: Int
    private let blocks: [Block?]
    /// What attention of one token needs besides, made once for all of them.
    private var memory: Tensor

    private struct Block {
        let keys: Side
        let values: Side
        let heads: Architecture.Heads
    }

    /// Keys or values of a block, head after head.
    private struct Side {
        let precision: CachePrecision
        let dimension: Int
        let capacity: Int
        let rows: ByteStorage
        let scales: Tensor
        let zeros: Tensor?

        init(_ precision: CachePrecision, _ heads: Architecture.Heads, capacity: Int) {
            (self.precision, dimension, self.capacity) = (precision, heads.dimension, capacity)
            let count = heads.keyValue * capacity
            rows = ByteStorage(uninitialized: count * ck_cache_row_bytes(precision.storedBits, dimension))
            scales = Tensor(uninitialized: [count])
            zeros = precision.bits == 16 ? nil : Tensor(uninitialized: [count])
        }

        /// What the kernels take, valid while this is; these tensors are not shared.
        func kernel(head: Int) -> ck_cache {
            let first = head * capacity
            return ck_cache(
                bits: precision.storedBits, d: dimension,
                rows: (rows.pointer + first * ck_cache_row_bytes(precision.storedBits, dimension))
                    .assumingMemoryBound(to: UInt8.self),
                scales: UnsafeMutablePointer(mutating: scales.pointer) + first,
                zeros: zeros.map { UnsafeMutablePointer(mutating: $0.pointer) + first })
        }

        /// Bytes of one token.
        var tokenBytes: Int { (rows.count + MemoryLayout<Float>.stride * (scales.count + (zeros?.count ?? 0))) / capacity }

        func store(_ x: Tensor, at position: Int) {
            let (heads, count, quantizer) = (x.columns / dimension, x.rows, precision.quantizer)
            withUnsafeTemporaryAllocation(of: Int16.self, capacity: dimension) { codes in
                for head in 0..<heads {
                    var cache = kernel(head: head)
                    for row in 0..<count {
                        ck_cache_store(
                            &cache, position + row, x.pointer + row * x.columns + head * dimension, quantizer, codes.baseAddress
                        )
                    }
                }
            }
        }
    }

    /// - Parameters:
    ///   - blocks: those of the network, or of a stage.
    ///   - capacity: tokens.
    package init(
        _ blocks: ArraySlice<Architecture.Block>, capacity: Int, keys: CachePrecision = CachePrecision(),
        values: CachePrecision = CachePrecision()
    ) {
        (self.capacity, firstBlock) = (capacity, blocks.startIndex)
        self.blocks = blocks.map { block in
            block.heads.map {
                Block(keys: Side(keys, $0, capacity: capacity), values: Side(values, $0, capacity: capacity), heads: $0)
            }
        }
        let scratch = blocks.compactMap(\.heads).map {
            $0.keyValue * ck_cached_attention_scratch(capacity, $0.query / $0.keyValue, $0.dimension)
        }
        memory = Tensor(uninitialized: [scratch.max() ?? 0])
    }

    /// Bytes of all that one token attends to from here.
    package var bytesRead: Int {
        blocks.compactMap(\.self).reduce(0) { sum, block in
            sum + min(position, block.heads.window ?? position) * (block.keys.tokenBytes + block.values.tokenBytes)
        }
    }

    /// Counts the tokens that have been through all blocks.
    package func advance(by count: Int) { position += count }

    /// Forgets all tokens.
    package func reset() { position = 0 }

    /// Those that follow what is in the cache.
    package func positions(rows: Int) -> [Int32] { (0..<rows).map { Int32(position + $0) } }

    /// The rotary embedding at the positions that follow what is in the cache.
    package func rotate(_ x: Variable, _ table: RotaryTable, on tape: Tape) -> Variable {
        tape.rotary(x, table, from: position, length: x.value.rows)
    }

    /// Stores the new tokens' keys and values, then attends to all before them and to themselves, `[rows, heads·d]`.
    ///
    /// - Precondition: there is room, and the tape records nothing.
    package func attend(
        _ q: Variable, _ k: Variable, _ v: Variable, block: Int, _ heads: Architecture.Heads, on tape: Tape
    ) -> Variable {
        precondition(!tape.isRecording, "a cache has no backward pass")
        let count = q.value.rows
        guard let block = blocks[block - firstBlock] else { preconditionFailure("block \(block) has no attention") }
        precondition(position + count <= capacity, "\(position + count) tokens for a cache of \(capacity)")
        block.keys.store(k.value, at: position)
        block.values.store(v.value, at: position)
        return Variable(constant: count == 1 ? attendOne(q.value, block) : attendMany(q.value, block))
    }

    private func attendOne(_ q: Tensor, _ block: Block) -> Tensor {
        let (heads, d) = (block.heads, block.heads.dimension)
        let group = heads.query / heads.keyValue
        let first = max(0, position + 1 - (heads.window ?? capacity))
        let length = position + 1 - first
        let scratch = ck_cached_attention_scratch(length, group, d)
        var result = Tensor(uninitialized: q.shape)
        // Each head has its own part of both.
        nonisolated(unsafe) let (x, y, work) = (q.pointer, result.mutablePointer, memory.mutablePointer)
        let threads = min(Team.threads, heads.query * length * d / Self.productsOfAThread)
        Team.share(heads.keyValue, in: threads) { range in
            for head in range {
                var (keys, values) = (block.keys.kernel(head: head), block.values.kernel(head: head))
                ck_cached_attention(
                    &keys, &values, first, length, group, x + head * group * d, 1 / Float(d).squareRoot(), y + head * group * d,
                    work + head * scratch)
            }
        }
        return result
    }

    /// Below so many products a further thread costs more than it saves.
    private static let productsOfAThread = 1 << 15
    /// Query rows whose scores exist at a time.
    private static let rows = 64

    private func attendMany(_ q: Tensor, _ block: Block) -> Tensor {
        let (heads, d, total) = (block.heads, block.heads.dimension, position + q.rows)
        let group = heads.query / heads.keyValue
        let unseen = max(0, position + 1 - (heads.window ?? total))
        let length = total - unseen
        var result = Tensor(uninitialized: q.shape)
        var (keys, values) = (Tensor(uninitialized: [length, d]), Tensor(uninitialized: [length, d]))
        var scores = Tensor(uninitialized: [Self.rows, length])
        var sums = Tensor(uninitialized: [Self.rows])
        let (y, p) = (result.mutablePointer, scores.mutablePointer)
        for head in 0..<heads.query {
            if head % group == 0 {
                var (k, v) = (block.keys.kernel(head: head / group), block.values.kernel(head: head / group))
                ck_cache_load(&k, unseen, length, keys.mutablePointer)
                ck_cache_load(&v, unseen, length, values.mutablePointer)
            }
            for first in stride(from: 0, to: q.rows, by: Self.rows) {
                let count = min(Self.rows, q.rows - first)
                // Places among the keys: of the first that a row sees, of the first row's own, and behind the last.
                let own = position + first - unseen
                let low = max(0, own + 1 - (heads.window ?? total))
                let columns = own + count - low
                let offset = first * q.columns + head * d
                gemm(
                    .asStored, .transposed, m: count, n: columns, k: d, alpha: 1 / Float(d).squareRoot(), q.pointer + offset,
                    lda: q.columns, keys.pointer + low * d, ldb: d, p, ldc: length)
                ck_softmax_causal(p, sums.mutablePointer, count, columns, length, own - low, heads.window ?? total)
                gemm(
                    .asStored, .asStored, m: count, n: d, k: columns, p, lda: length, values.pointer + low * d, ldb: d,
                    y + offset, ldc: q.columns)
            }
        }
        return result
    }
}
