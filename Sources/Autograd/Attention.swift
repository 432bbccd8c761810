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

    /// Calls `body` for each block of query rows of each head of each sequence. Threads share sequences and heads of K and V:
    /// the heads that one serves, whose gradients it adds up, come one after the other.
    ///
    /// - Parameter buffers: matrices [block, length] that a run of blocks has for itself, beside a vector [block], the last.
    fileprivate func forEachBlock(buffers: Int, _ body: (Block, [UnsafeMutablePointer<Float>]) -> Void) {
        let group = heads / keyValueHeads
        let cost = group * length * min(length, window) * headDimension
        Team.share(sequences * keyValueHeads, cost: cost / 8) { range in
            var memory = Tensor(uninitialized: [(buffers * length + 1) * block])
            let start = memory.mutablePointer
            let parts = (0...buffers).map { start + $0 * block * length }
            for unit in range {
                let (sequence, served) = (unit / keyValueHeads, unit % keyValueHeads * group)
                for head in served..<served + group {
                    for first in stride(from: 0, to: length, by: block) {
                        let rows = min(block, length - first)
                        body(Block(shape: self, sequence: sequence, head: head, first: first, rows: rows), parts)
                    }
                }
            }
        }
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
    }
}

extension Tape {
    /// softmax(q·kᵀ/√d + causal mask)·v over the last `window` tokens, for each head. q: [rows, heads·d]; k, v: [rows,
    /// keyValueHeads·d].
    ///
    /// Scores exist for one block of query rows at a time, never for a whole sequence; the backward pass computes them again
    /// from the saved log sums (Dao et al., arXiv 2205.14135). Work above the diagonal is at most half a block per row.
    package func causalAttention(_ q: Variable, _ k: Variable, _ v: Variable, _ shape: AttentionShape) -> Variable {
        let d = shape.headDimension
        var output = Tensor(uninitialized: q.value.shape)
        var logSums = Tensor(uninitialized: [shape.sequences, shape.heads, shape.length])
        let (qs, ks, vs) = (q.value.pointer, k.value.pointer, v.value.pointer)
        let (o, sums) = (output.mutablePointer, logSums.mutablePointer)
        shape.forEachBlock(buffers: 1) { b, buffers in
            let p = buffers[0]
            gemm(
                .asStored, .transposed, m: b.rows, n: b.columns, k: d, alpha: shape.scale,
                qs + b.query, lda: b.queryStride, ks + b.key, ldb: b.keyStride, p, ldc: shape.length)
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
    var dQ = Tensor(uninitialized: q.shape)
    var dK = Tensor(zeros: k.shape)
    var dV = Tensor(zeros: v.shape)
    let (qs, ks, vs, o, dO, sums) = (q.pointer, k.pointer, v.pointer, output.pointer, dOutput.pointer, logSums.pointer)
    let (dq, dk, dv) = (dQ.mutablePointer, dK.mutablePointer, dV.mutablePointer)
    shape.forEachBlock(buffers: 2) { b, buffers in
        let (p, s, dot) = (buffers[0], buffers[1], buffers[2])
        gemm(
            .asStored, .transposed, m: b.rows, n: b.columns, k: d, alpha: shape.scale,
            qs + b.query, lda: b.queryStride, ks + b.key, ldb: b.keyStride, p, ldc: shape.length)
        ck_softmax_causal_again(p, sums + b.logSum, b.rows, b.columns, shape.length, b.diagonal, shape.window)
        gemm(
            .transposed, .asStored, m: b.columns, n: d, k: b.rows,
            p, lda: shape.length, dO + b.query, ldb: b.queryStride, beta: 1, dv + b.key, ldc: b.keyStride)
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
            s, lda: shape.length, qs + b.query, ldb: b.queryStride, beta: 1, dk + b.key, ldc: b.keyStride)
    }
    return (dQ, dK, dV)
}
