package import Autograd
internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// One new token for each of several sequences, attending to those before it through a cache of keys and values.
final class CachedDecoding: AttentionContext {
    private let sequences: Int
    private let capacity: Int
    private let firstBlock: Int
    /// Tokens already in the cache: the position of the one being processed.
    private(set) var position = 0
    private var keys: [Tensor]
    private var values: [Tensor]
    private var scratch: Tensor

    init(_ blocks: ArraySlice<Architecture.Block>, sequences: Int, capacity: Int) {
        firstBlock = blocks.startIndex
        self.sequences = sequences
        self.capacity = capacity
        func cache() -> [Tensor] {
            blocks.map { block in
                Tensor(zeros: [sequences, capacity, block.heads.map { $0.keyValue * $0.dimension } ?? 0])
            }
        }
        (keys, values) = (cache(), cache())
        scratch = Tensor(uninitialized: [capacity])
    }

    func advance() { position += 1 }

    func positions(rows: Int) -> [Int32] { [Int32](repeating: Int32(position), count: rows) }

    func rotate(_ x: Variable, _ table: RotaryTable, on tape: Tape) -> Variable {
        tape.rotary(x, table, from: position, length: 1)
    }

    func attend(
        _ q: Variable, _ k: Variable, _ v: Variable, block: Int, _ heads: Architecture.Heads, on tape: Tape
    ) -> Variable {
        precondition(!tape.isRecording, "decoding with a cache has no backward pass")
        var y = Tensor(uninitialized: q.value.shape)
        let width = heads.keyValue * heads.dimension
        // The cache keeps every token; a layer with a window reads the last of them.
        let unseen = max(0, position + 1 - (heads.window ?? capacity))
        let cachedKeys = keys[block - firstBlock].mutablePointer
        let cachedValues = values[block - firstBlock].mutablePointer
        for sequence in 0..<sequences {
            let first = sequence * capacity * width
            (cachedKeys + first + position * width).update(from: k.value.pointer + sequence * width, count: width)
            (cachedValues + first + position * width).update(from: v.value.pointer + sequence * width, count: width)
            let row = sequence * q.value.columns
            ck_decode_attention(
                q.value.pointer + row, cachedKeys + first + unseen * width, cachedValues + first + unseen * width,
                y.mutablePointer + row, scratch.mutablePointer, position + 1 - unseen, heads.query, heads.keyValue,
                heads.dimension, 1 / Float(heads.dimension).squareRoot())
        }
        return Variable(constant: y)
    }
}

/// One stage's part in drawing sequences from a model: calibration text without data (LLM-QAT, arXiv 2305.17888, section 3.1).
///
/// Every token is drawn from the softmax of the logits at temperature 1. Sequence i uses its own stream of the seed. The
/// numbers also depend, by rounding, on how many sequences are drawn together, so callers that deal the work to ranks keep that
/// number fixed.
package final class SequenceDrawing {
    private let model: Model
    private let parameters: Parameters<Variable>
    private let cache: CachedDecoding
    private var random: [RandomStream]
    private var logits: Tensor
    private var scratch: Tensor

    /// - Parameters:
    ///   - parameters: of this stage.
    ///   - length: tokens of a sequence.
    ///   - streams: one for each sequence.
    package init(
        _ model: Model, _ parameters: Parameters<Variable>, length: Int, seed: UInt64, streams: Range<UInt64>
    ) {
        self.model = model
        self.parameters = parameters
        cache = CachedDecoding(
            model.architecture.blocks[parameters.blockRange], sequences: streams.count, capacity: length)
        random = streams.map { RandomStream(seed: seed, stream: $0) }
        let vocabulary = parameters.isLast ? parameters.logitWeight.shape[0] : 0
        logits = Tensor(uninitialized: [streams.count, vocabulary])
        scratch = Tensor(uninitialized: [vocabulary])
    }

    /// The stage's output [sequences, h] for the next position of every sequence.
    package func advance(_ input: StageInput) -> Tensor {
        let x = model.hiddenStates(input, parameters, context: cache, on: Tape(recording: false))
        cache.advance()
        return x.value
    }

    /// The next token of every sequence. - Precondition: the last stage.
    package func draw(_ hidden: Tensor) -> [Int32] {
        let head = parameters.logitWeight.value
        matmul(hidden, .asStored, head, .transposed, into: &logits)
        return random.indices.map { i in
            Int32(
                ck_sample(logits.pointer + i * head.rows, 1, Float(random[i].uniform()), scratch.mutablePointer, head.rows))
        }
    }
}

extension Model {
    /// `streams.count` sequences of `length` tokens that begin with `first`, drawn by a whole model; see ``SequenceDrawing``.
    package func sample(
        _ parameters: Parameters<Variable>, first: Int32, length: Int, seed: UInt64, streams: Range<UInt64>
    ) -> [[Int32]] {
        let drawing = SequenceDrawing(self, parameters, length: length, seed: seed, streams: streams)
        var sequences = [[Int32]](repeating: [first], count: streams.count)
        for _ in 1..<max(1, length) {
            let tokens = drawing.draw(drawing.advance(.tokens(sequences.map { $0[$0.count - 1] })))
            for i in sequences.indices { sequences[i].append(tokens[i]) }
        }
        return sequences
    }
}
