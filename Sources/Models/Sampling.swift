package import Autograd
internal import CKernels
internal import LinearAlgebra
internal import TensorCore

/// One new token for each of several sequences, attending to those before it through a cache of keys and values.
final class CachedDecoding: AttentionContext {
    private let sequences: Int
    private let capacity: Int
    /// Tokens already in the cache: the position of the one being processed.
    private(set) var position = 0
    private var keys: [Tensor]
    private var values: [Tensor]
    private var scratch: Tensor

    init(_ c: LlamaConfiguration, sequences: Int, capacity: Int) {
        self.sequences = sequences
        self.capacity = capacity
        let shape = [sequences, capacity, c.keyValueHeads * c.headDimension]
        keys = (0..<c.layers).map { _ in Tensor(zeros: shape) }
        values = (0..<c.layers).map { _ in Tensor(zeros: shape) }
        scratch = Tensor(uninitialized: [capacity])
    }

    func advance() { position += 1 }

    func rotate(_ x: Variable, _ table: RotaryTable, on tape: Tape) -> Variable {
        tape.rotary(x, table.row(position), length: 1)
    }

    func attend(
        _ q: Variable, _ k: Variable, _ v: Variable, layer: Int, _ c: LlamaConfiguration, on tape: Tape
    ) -> Variable {
        precondition(!tape.isRecording, "decoding with a cache has no backward pass")
        var y = Tensor(uninitialized: q.value.shape)
        let width = c.keyValueHeads * c.headDimension
        let (cachedKeys, cachedValues) = (keys[layer].mutablePointer, values[layer].mutablePointer)
        for sequence in 0..<sequences {
            let first = sequence * capacity * width
            (cachedKeys + first + position * width).update(from: k.value.pointer + sequence * width, count: width)
            (cachedValues + first + position * width).update(from: v.value.pointer + sequence * width, count: width)
            let row = sequence * q.value.columns
            ck_decode_attention(
                q.value.pointer + row, cachedKeys + first, cachedValues + first, y.mutablePointer + row,
                scratch.mutablePointer, position + 1, c.heads, c.keyValueHeads, c.headDimension,
                1 / Float(c.headDimension).squareRoot())
        }
        return Variable(constant: y)
    }
}

extension Llama {
    /// Sequences drawn from the model itself: calibration text without data (LLM-QAT, arXiv 2305.17888, section 3.1).
    ///
    /// Each begins with `first`; every further token is drawn from the softmax of the logits at temperature 1. Sequence i uses
    /// its own stream of the seed. The numbers also depend, by rounding, on how many sequences are drawn together, so callers
    /// that deal the work to ranks keep that number fixed.
    ///
    /// - Returns: `streams.count` sequences of `length` tokens.
    package func sample(
        _ parameters: LlamaParameters<Variable>, first: Int32, length: Int, seed: UInt64, streams: Range<UInt64>
    ) -> [[Int32]] {
        let count = streams.count
        let cache = CachedDecoding(configuration, sequences: count, capacity: length)
        var random = streams.map { RandomStream(seed: seed, stream: $0) }
        var sequences = [[Int32]](repeating: [first], count: count)
        let head = parameters.logitWeight.value
        var logits = Tensor(uninitialized: [count, head.rows])
        var scratch = Tensor(uninitialized: [head.rows])
        while sequences.first.map({ $0.count < length }) ?? false {
            let x = hiddenStates(
                sequences.map { $0[$0.count - 1] }, parameters, context: cache, on: Tape(recording: false))
            matmul(x.value, .asStored, head, .transposed, into: &logits)
            for i in 0..<count {
                let token = ck_sample(
                    logits.pointer + i * head.rows, 1, Float(random[i].uniform()), scratch.mutablePointer, head.rows)
                sequences[i].append(Int32(token))
            }
            cache.advance()
        }
        return sequences
    }
}
