internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// What a language model's logits are compared with.
package enum LogitTarget {
    /// Cross entropy with the next token; a negative target is not counted (the last position of a sequence).
    case tokens([Int32])
    /// Kullback-Leibler divergence Σ p·log(p/q) from another network's distribution p, given by its last hidden states
    /// [rows, h] and its head [vocabulary, h].
    case teacher(hidden: Tensor, head: Variable)
}

/// Rows of logits that exist at a time.
package enum LogitBlock {
    /// As many as eight MiB of logits hold, but 128 to 256: a head in training has its gradient read and written for each
    /// block.
    package static func rows(vocabulary: Int) -> Int { max(128, min(256, (2 << 20) / vocabulary)) }
}

extension Tape {
    /// The sum over rows of the loss of logits = x·headᵀ, in nats, times `scale` in the gradient.
    ///
    /// Logits exist for a block of rows at a time, see ``LogitBlock``. Their gradient is known as soon as they are, so ∂loss/∂x
    /// (and the head's) is formed right away and no logits are kept.
    ///
    /// - Parameters:
    ///   - x: [rows, h], the output of the last norm.
    ///   - head: [vocabulary, h].
    ///   - scale: factor of the gradient, not 0; 1/(counted positions of the step) makes the step's loss a mean.
    /// - Returns: the loss on the tape (already times `scale`), and the plain sum in double precision.
    package func languageModelLoss(
        _ x: Variable, head: Variable, _ target: LogitTarget, scale: Float
    ) -> (loss: Variable, sum: Double) {
        let (rows, h, vocabulary) = (x.value.rows, x.value.columns, head.shape[0])
        let weight = head.value
        let teacher: (hidden: Tensor, weight: Tensor)? =
            if case .teacher(let hidden, let other) = target {
                (hidden, other.stored.isIdentical(to: head.stored) ? weight : other.value)
            } else {
                nil
            }
        let wanted = isRecording && (x.requiresGradient || head.requiresGradient)
        let chunk = min(rows, LogitBlock.rows(vocabulary: vocabulary))
        var logits = Tensor(uninitialized: [chunk, vocabulary])
        var reference = Tensor(uninitialized: teacher == nil ? [0] : [chunk, vocabulary])
        var dx = Tensor(uninitialized: wanted && x.requiresGradient ? x.value.shape : [0])
        var dHead = Tensor(uninitialized: wanted && head.requiresGradient ? head.shape : [0])
        var sum = 0.0
        for first in stride(from: 0, to: rows, by: chunk) {
            let count = min(chunk, rows - first)
            headProduct(x.value, first, count, weight, in: precision, into: &logits)
            if let teacher { headProduct(teacher.hidden, first, count, teacher.weight, in: precision, into: &reference) }
            let l = logits.mutablePointer
            sum += lossAndGradient(target, l, reference.pointer, first: first, count, vocabulary, scale: wanted ? scale : 0)
            if dx.count > 0 {
                gemm(
                    .asStored, .asStored, m: count, n: h, k: vocabulary, l, lda: vocabulary, weight.pointer, ldb: h,
                    dx.mutablePointer + first * h, ldc: h, in: precision)
            }
            if dHead.count > 0 {
                gemm(
                    .transposed, .asStored, m: vocabulary, n: h, k: count, l, lda: vocabulary,
                    x.value.pointer + first * h, ldb: h, beta: first == 0 ? 0 : 1, dHead.mutablePointer, ldc: h, in: precision)
            }
        }
        let (toX, toHead) = (x.sink, head.sink)
        let loss = record(Tensor([Float(sum) * scale], []), from: [x, head]) { [dx, dHead] dLoss in
            let factor = dLoss[flat: 0]
            for (sink, gradient) in [(toX, dx), (toHead, dHead)] where sink.isWanted {
                var scaled = gradient
                if factor != 1 { scaled.scale(by: factor) }
                sink.add(scaled)
            }
        }
        return (loss, sum)
    }
}

/// How good a network's predictions are, and how near to another's.
package struct PredictionScores {
    /// Σ −log q(next token), in nats, over rows that have one.
    package var negativeLogLikelihood = 0.0
    /// Σ p·log(p/q) over rows, p the other network's distribution; 0 without one.
    package var divergence = 0.0
    /// Rows whose likeliest token is the other network's.
    package var agreements = 0

    /// Those of the logits x·headᵀ, block by block as in `languageModelLoss`, without gradients.
    ///
    /// - Parameters:
    ///   - x: [rows, h], the output of the last norm; `head`: [vocabulary, h].
    ///   - tokens: the next token of each row, negative where there is none.
    ///   - reference: the other network's output [rows, h] and head.
    package init(of x: Tensor, head: Variable, _ tokens: [Int32], against reference: (x: Tensor, head: Variable)?) {
        let (rows, vocabulary, weight) = (x.rows, head.shape[0], head.value)
        let other = reference.map { ($0.x, $0.head.stored.isIdentical(to: head.stored) ? weight : $0.head.value) }
        let chunk = min(rows, LogitBlock.rows(vocabulary: vocabulary))
        var logits = Tensor(uninitialized: [chunk, vocabulary])
        var references = Tensor(uninitialized: other == nil ? [0] : [chunk, vocabulary])
        for first in stride(from: 0, to: rows, by: chunk) {
            let count = min(chunk, rows - first)
            headProduct(x, first, count, weight, into: &logits)
            let l = logits.mutablePointer
            if let (x, weight) = other {
                headProduct(x, first, count, weight, into: &references)
                let r = references.pointer
                agreements += ck_agreements(l, r, count, vocabulary)
                divergence += rowSum(count, vocabulary) {
                    ck_kl_divergence(l + $0 * vocabulary, r + $0 * vocabulary, 0, vocabulary)
                }
            }
            // Last, since it leaves no logits.
            negativeLogLikelihood += lossAndGradient(.tokens(tokens), l, l, first: first, count, vocabulary, scale: 0)
        }
    }
}

/// logits[0 ..< count] = rows `first ..< first + count` of x times headᵀ.
private func headProduct(
    _ x: Tensor, _ first: Int, _ count: Int, _ head: Tensor, in precision: ProductPrecision = .float32,
    into logits: inout Tensor
) {
    gemm(
        .asStored, .transposed, m: count, n: head.rows, k: head.columns, x.pointer + first * x.columns, lda: x.columns,
        head.pointer, ldb: head.columns, logits.mutablePointer, ldc: head.rows, in: precision)
}

/// The loss of `count` rows of logits, of which `first` is the number of the first one; its gradient times `scale`, unless
/// that is 0, takes the logits' place.
private func lossAndGradient(
    _ target: LogitTarget, _ logits: UnsafeMutablePointer<Float>, _ reference: UnsafePointer<Float>, first: Int, _ count: Int,
    _ vocabulary: Int, scale: Float
) -> Double {
    rowSum(count, vocabulary) { i in
        let row = logits + i * vocabulary
        switch target {
        case .tokens(let tokens):
            let token = tokens[first + i]
            if token >= 0 { return ck_cross_entropy(row, Int(token), scale, vocabulary) }
            row.update(repeating: 0, count: vocabulary)
            return 0
        case .teacher: return ck_kl_divergence(row, reference + i * vocabulary, scale, vocabulary)
        }
    }
}

/// Σ `loss` over rows, each of which some thread computes, in the order of the rows.
private func rowSum(_ rows: Int, _ columns: Int, _ loss: (_ row: Int) -> Float) -> Double {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: rows) { losses in
        guard let target = losses.baseAddress else { return 0 }
        Team.share(rows, cost: 4 * columns) { for row in $0 { target[row] = loss(row) } }
        return losses.reduce(0) { $0 + Double($1) }
    }
}
