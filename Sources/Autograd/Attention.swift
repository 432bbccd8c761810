internal import CKernels
internal import LinearAlgebra
internal import TensorCore

/// Shapes of causal attention over rows of a batch: `sequences` sequences of `length` tokens, stored one after the other.
package struct AttentionShape: Sendable {
    package var sequences: Int
    package var length: Int
    package var heads: Int
    /// Heads of K and V; each serves heads/keyValueHeads query heads (Ainslie et al., arXiv 2305.13245).
    package var keyValueHeads: Int
    package var headDimension: Int
    /// Tokens that a query sees, itself included: key j is visible to query i if i − window < j ≤ i (Beltagy et al., arXiv
    /// 2004.05150, section 3.1).
    package var window: Int

    /// - Parameter window: nil for all tokens before the query.
    package init(sequences: Int, length: Int, heads: Int, keyValueHeads: Int, headDimension: Int, window: Int? = nil) {
        self.sequences = sequences
        self.length = length
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headDimension = headDimension
        self.window = min(window ?? length, length)
    }

    fileprivate var scale: Float { 1 / Float(headDimension).squareRoot() }

    fileprivate var block: Int { Self.block(length: length) }

    /// Query rows handled together: few enough that little beyond the diagonal is computed, enough to feed a product.
    package static func block(length: Int) -> Int { length <= 512 ? 64 : 128 }

    /// Blocks of query rows of a head.
    private var blocks: Int { (length + block - 1) / block }

    /// As many runs of blocks as keep 16 threads busy, each with its own sums in memory.
    private static let units = 32

    /// Runs of a head's blocks, each of which adds up gradients of K and V of its own: the more, the fewer heads there are for
    /// threads to share. They depend on the shape alone, so that sums do not depend on the threads. Blocks at a sequence's end
    /// see more keys, so that the last runs have fewer: with all tokens visible, work grows with the square of the place.
    fileprivate var spans: [Range<Int>] {
        let count = max(1, min(blocks, Self.units / (sequences * heads)))
        var ends = [0]
        for index in 1...count {
            let end = Int((Double(blocks) * (Double(index) / Double(count)).squareRoot()).rounded())
            ends.append(min(max(end, ends[index - 1] + 1), blocks - (count - index)))
        }
        return zip(ends, ends.dropFirst()).map { $0..<$1 }
    }

    /// Calls `body` for each block of query rows of each head of each sequence, in any order.
    ///
    /// - Parameter buffer: a matrix [block, length] that the calling thread has for itself.
    fileprivate func forEachBlock(_ body: (_ block: Block, _ buffer: UnsafeMutablePointer<Float>) -> Void) {
        Team.share(sequences * heads * blocks, cost: block * min(length, window) * headDimension / 8) { range in
            var memory = Tensor(uninitialized: [block, length])
            let buffer = memory.mutablePointer
            for unit in range { body(queryRows(unit / blocks, unit % blocks), buffer) }
        }
    }

    /// Calls `body`, in any order, for each of the `spans` of each head of each sequence, which are numbered sequence by
    /// sequence, head by head.
    ///
    /// - Parameter buffers: two matrices [block, length] and a vector [block] that the calling thread has for itself.
    fileprivate func forEachSpan(
        _ spans: [Range<Int>], _ body: (_ unit: Int, _ blocks: [Block], _ buffers: [UnsafeMutablePointer<Float>]) -> Void
    ) {
        let cost = length / spans.count * min(length, window) * headDimension
        Team.share(sequences * heads * spans.count, cost: cost / 4) { range in
            var memory = Tensor(uninitialized: [(2 * length + 1) * block])
            let start = memory.mutablePointer
            let buffers = (0...2).map { start + $0 * block * length }
            for unit in range {
                body(unit, spans[unit % spans.count].map { queryRows(unit / spans.count, $0) }, buffers)
            }
        }
    }

    /// The keys that query rows of a span of blocks see.
    fileprivate func keys(_ span: Range<Int>) -> Range<Int> {
        max(0, span.lowerBound * block + 1 - window)..<min(length, span.upperBound * block)
    }

    /// - Parameter place: a head of a sequence, sequence by sequence.
    private func queryRows(_ place: Int, _ index: Int) -> Block {
        let first = index * block
        return Block(
            shape: self, sequence: place / heads, head: place % heads, first: first, rows: min(block, length - first))
    }

    /// Query rows `first ..< first + rows` of one head, and the offsets at which their data lie.
    fileprivate struct Block {
        let shape: AttentionShape
        let sequence: Int, head: Int, first: Int, rows: Int
        /// The first key that a row of the block may see.
        var firstKey: Int { max(0, first + 1 - shape.window) }
        /// Keys from there to the last that a row may see.
        var columns: Int { first + rows - firstKey }
        /// Where the first row's own key stands among them.
        var diagonal: Int { first - firstKey }
        var queryStride: Int { shape.heads * shape.headDimension }
        var keyStride: Int { shape.keyValueHeads * shape.headDimension }
        var query: Int { (sequence * shape.length + first) * queryStride + head * shape.headDimension }
        var key: Int {
            (sequence * shape.length + firstKey) * keyStride + head * shape.keyValueHeads / shape.heads * shape.headDimension
        }
        var logSum: Int { (sequence * shape.heads + head) * shape.length + first }

        /// p ← q·kᵀ/√d of its rows and the keys that they may see, rows of `length` entries.
        func scores(_ q: UnsafePointer<Float>, _ k: UnsafePointer<Float>, into p: UnsafeMutablePointer<Float>) {
            gemm(
                .asStored, .transposed, m: rows, n: columns, k: shape.headDimension, alpha: shape.scale,
                q + query, lda: queryStride, k + key, ldb: keyStride, p, ldc: shape.length)
        }
    }
}

extension Tape {
    /// softmax(q·kᵀ/√d + causal mask)·v over the last `window` tokens, for each head. q: [rows, heads·d]; k, v: [rows,
    /// keyValueHeads·d].
    ///
    /// Scores exist for one block of query rows at a time, never for a whole sequence; the backward pass computes them again
    /// from the saved log sums (Dao et al., arXiv 2205.14135). Work above the diagonal is at most half a block per row.
    package func causalAttention(_ q: Variable, _ k: Variable, _ v: Variable, _ shape: AttentionShape) -> Variable {
        if hasEnded { return Variable(constant: Tensor(zeros: q.shape)) }
        let d = shape.headDimension
        var output = Tensor(uninitialized: q.value.shape)
        var logSums = Tensor(uninitialized: [shape.sequences, shape.heads, shape.length])
        let (qs, ks, vs) = (q.value.pointer, k.value.pointer, v.value.pointer)
        let (o, sums) = (output.mutablePointer, logSums.mutablePointer)
        shape.forEachBlock { b, p in
            b.scores(qs, ks, into: p)
            ck_softmax_causal(p, sums + b.logSum, b.rows, b.columns, shape.length, b.diagonal, shape.window)
            gemm(
                .asStored, .asStored, m: b.rows, n: d, k: b.columns,
                p, lda: shape.length, vs + b.key, ldb: b.keyStride, o + b.query, ldc: b.queryStride)
        }
        return record(output, from: [q, k, v]) { [output, logSums] dOutput in
            let gradients = attentionGradients(
                q.value, k.value, v.value, output: output, logSums: logSums, dOutput: dOutput, shape)
            q.sink.add(gradients.q)
            k.sink.add(gradients.k)
            v.sink.add(gradients.v)
        }
    }
}

/// With P the probabilities: dV = Pᵀ·dO, dP = dO·Vᵀ, dS = P∘(dP − rowsum(dO∘O))/√d, dQ = dS·K, dK = dSᵀ·Q.
private func attentionGradients(
    _ q: Tensor, _ k: Tensor, _ v: Tensor, output: Tensor, logSums: Tensor, dOutput: Tensor, _ shape: AttentionShape
) -> (q: Tensor, k: Tensor, v: Tensor) {
    let d = shape.headDimension
    let spans = shape.spans
    let keys = spans.map(shape.keys)
    var dQ = Tensor(uninitialized: q.shape)
    var dK = SpanSums(shape, keys)
    var dV = SpanSums(shape, keys)
    let (qs, ks, vs, o, dO, sums) = (q.pointer, k.pointer, v.pointer, output.pointer, dOutput.pointer, logSums.pointer)
    let (dq, dk, dv) = (dQ.mutablePointer, dK.sums.mutablePointer, dV.sums.mutablePointer)
    shape.forEachSpan(spans) { unit, blocks, buffers in
        let (p, s, dot) = (buffers[0], buffers[1], buffers[2])
        let (lane, seen) = (unit * shape.length * d, keys[unit % spans.count])
        for sums in [dk, dv] { (sums + lane + seen.lowerBound * d).update(repeating: 0, count: seen.count * d) }
        for b in blocks {
            let keys = lane + b.firstKey * d
            b.scores(qs, ks, into: p)
            ck_softmax_causal_again(p, sums + b.logSum, b.rows, b.columns, shape.length, b.diagonal, shape.window)
            gemm(
                .transposed, .asStored, m: b.columns, n: d, k: b.rows,
                p, lda: shape.length, dO + b.query, ldb: b.queryStride, beta: 1, dv + keys, ldc: d)
            gemm(
                .asStored, .transposed, m: b.rows, n: b.columns, k: d,
                dO + b.query, lda: b.queryStride, vs + b.key, ldb: b.keyStride, s, ldc: shape.length)
            ck_row_dots(dO + b.query, o + b.query, dot, b.rows, d, b.queryStride)
            ck_softmax_backward(p, s, dot, shape.scale, b.rows, b.columns, shape.length, b.diagonal, shape.window)
            gemm(
                .asStored, .asStored, m: b.rows, n: d, k: b.columns,
                s, lda: shape.length, ks + b.key, ldb: b.keyStride, dq + b.query, ldc: b.queryStride)
            gemm(
                .transposed, .asStored, m: b.columns, n: d, k: b.rows,
                s, lda: shape.length, qs + b.query, ldb: b.queryStride, beta: 1, dk + keys, ldc: d)
        }
    }
    return (dQ, dK.total(k.shape), dV.total(v.shape))
}

/// Gradients of K or V: sums that each span of each query head has for itself, and their total.
private struct SpanSums {
    let shape: AttentionShape
    /// The keys that each span sees.
    let keys: [Range<Int>]
    /// [sequences, heads, spans, length, d]; unset where a span sees no key.
    var sums: Tensor

    init(_ shape: AttentionShape, _ keys: [Range<Int>]) {
        (self.shape, self.keys) = (shape, keys)
        sums = Tensor(uninitialized: [shape.sequences * shape.heads * keys.count, shape.length, shape.headDimension])
    }

    /// Those of the query heads that a head of K and V serves, added up head by head, span by span.
    func total(_ dimensions: [Int]) -> Tensor {
        let (d, group) = (shape.headDimension, shape.heads / shape.keyValueHeads)
        var result = Tensor(uninitialized: dimensions)
        let (target, source) = (result.mutablePointer, sums.pointer)
        Team.share(shape.sequences * shape.keyValueHeads * shape.length, cost: group * keys.count * d) { range in
            for index in range {
                let (place, row) = (index / shape.length, index % shape.length)
                let (sequence, served) = (place / shape.keyValueHeads, place % shape.keyValueHeads)
                let total = target + ((sequence * shape.length + row) * shape.keyValueHeads + served) * d
                total.update(repeating: 0, count: d)
                for head in 0..<group {
                    let lanes = (place * group + head) * keys.count
                    for (span, keys) in keys.enumerated() where keys.contains(row) {
                        ck_axpy(1, source + ((lanes + span) * shape.length + row) * d, total, d)
                    }
                }
            }
        }
        return result
    }
}
