internal import Autograd
package import Compression
internal import LinearAlgebra
package import Models
internal import Quantization
internal import Rotation
package import TensorCore

/// A model's folder, or the stage of it that a rank holds, made ready to run one token at a time: matrices laid out once, in
/// the form that products read.
package struct RunnableModel {
    package let architecture: Architecture
    let network: Network<QuantizedHooks>
    package let keys: CachePrecision
    package let values: CachePrecision
    /// Bytes of weights that a token after the first reads here: all matrices but the tables that it looks rows up in, and of
    /// those a row.
    package let bytesPerToken: Int

    /// - Parameters:
    ///   - product: how packed linears multiply.
    ///   - cacheBits: of keys and values; nil: as the folder says.
    ///   - positions: tokens that there is room for, with the prompt.
    ///   - stage: the blocks to read and hold; nil for all.
    /// - Throws: ``FileError``, ``TernaryError``; ``QuantizationError`` where the folder has no such product.
    package init(
        _ folder: CompressedFolder, product: LinearProduct, cacheBits: Int?, positions: Int, stage: Range<Int>? = nil
    ) throws {
        architecture = folder.folder.architecture
        var compressed = CompressedModel(try folder.folder.runnableParameters(stage), folder.execution)
        if product == .integer { compressed = try compressed.inIntegers(architecture) }
        compressed.parameters = compressed.parameters.map { _, value in
            // The exact product of integers is that of the floats they stand for.
            guard let weight = value.linearOperator as? QuantizedWeight else { return value }
            guard let codes = CodeMatrix(weight) else { return StoredTensor(FloatMatrix(weight.tensor, as: .float32)) }
            return StoredTensor(codes)
        }
        var network = compressed.network(folder.folder.description.model(positions: positions))
        (keys, values) = (
            CachePrecision(
                network.hooks.quantization[.key], bits: cacheBits, symmetric: folder.execution.cacheSymmetric, widened: true),
            CachePrecision(
                network.hooks.quantization[.value], bits: cacheBits, symmetric: folder.execution.cacheSymmetric, widened: false)
        )
        // The cache rounds.
        network.hooks.quantization = network.hooks.quantization.without([.key, .value])
        self.network = network
        bytesPerToken = Self.bytesPerToken(compressed.parameters)
    }

    private static func bytesPerToken(_ parameters: Parameters<StoredTensor>) -> Int {
        var sum = 0
        _ = parameters.mapSpecs { _, spec, value in
            let all = value.linearOperator?.byteCount ?? 4 * value.shape.reduce(1, *)
            let isTable = spec.role == .positions || spec.role == .embedding
            // A later stage has the embedding as its head alone.
            sum += !isTable ? all : parameters.isFirst ? all / max(1, spec.shape[0]) : 0
        }
        // An embedding that serves as head too is read as a whole.
        if parameters.isLast, parameters.tiesHead {
            let head = parameters.logitWeight
            sum += head.linearOperator?.byteCount ?? 4 * head.shape.reduce(1, *)
        }
        return sum
    }
}

extension CachePrecision {
    /// - Parameter bits: others than the folder's have ranges of their own, with ratios of 1.
    fileprivate init(_ spec: QuantizerSpec?, bits: Int?, symmetric: Bool, widened: Bool) {
        self.init(
            bits: bits ?? spec?.bits ?? 16, symmetric: spec?.symmetric ?? symmetric,
            includesZero: spec?.includesZero ?? widened,
            clipRatio: spec.map { bits ?? $0.bits == $0.bits ? $0.clipRatio : 1 } ?? 1)
    }
}

/// A sequence under way: what has been read of it is in the cache.
package final class TokenSequence {
    private let model: RunnableModel
    private let cache: KeyValueCache
    /// Tokens of a prompt that go through the network together.
    private static let chunk = 512

    /// A sequence of which nothing has been read; the cache has room for `capacity` tokens.
    package init(_ model: RunnableModel, capacity: Int) {
        self.model = model
        let blocks = model.architecture.blocks[model.network.parameters.blockRange]
        cache = KeyValueCache(blocks, capacity: capacity, keys: model.keys, values: model.values)
    }

    /// Tokens read.
    package var length: Int { cache.position }
    /// Bytes of weights and cache that the next token reads.
    package var bytesRead: Int { model.bytesPerToken + cache.bytesRead }

    /// Forgets what has been read; the memory stays.
    package func reset() { cache.reset() }

    /// Reads tokens; the logits of the one that follows, `[vocabulary]`.
    ///
    /// - Precondition: a whole network; at least one token, each in the vocabulary, and room for all.
    package func read(_ tokens: [Int32]) -> Tensor {
        var hidden = Tensor(zeros: [0])
        for range in Self.chunks(tokens.count) { hidden = advance(.tokens(Array(tokens[range])), count: range.count) }
        return logits(after: hidden)
    }

    /// The same by all stages together, each with its own part of the network; nil on all but the last. Collective.
    ///
    /// - Throws: what `link` throws.
    /// - Precondition: the same tokens on all stages, as for ``read(_:)``.
    package func read(_ tokens: [Int32], over link: some StageLink) throws -> Tensor? {
        var hidden = Tensor(zeros: [0])
        for range in Self.chunks(tokens.count) {
            let input: StageInput =
                link.isFirst
                ? .tokens(Array(tokens[range]))
                : .hidden(Variable(constant: try link.receive([range.count, model.architecture.hiddenSize])))
            hidden = advance(input, count: range.count)
            if !link.isLast { try link.send(hidden) }
        }
        return link.isLast ? logits(after: hidden) : nil
    }

    private static func chunks(_ count: Int) -> [Range<Int>] {
        precondition(count > 0, "no tokens to read")
        return stride(from: 0, to: count, by: chunk).map { $0..<min($0 + chunk, count) }
    }

    /// The output of the network or stage for the next tokens, `[count, h]`.
    private func advance(_ input: StageInput, count: Int) -> Tensor {
        let network = model.network
        let hidden = network.model.hiddenStates(
            input, network.parameters, context: cache, hooks: network.hooks, on: Tape(recording: false)
        ).value
        cache.advance(by: count)
        return hidden
    }

    /// Of the last row.
    private func logits(after hidden: Tensor) -> Tensor {
        let (last, head) = (hidden.rows(hidden.rows - 1..<hidden.rows), model.network.parameters.logitWeight)
        let logits = head.stored.linearOperator?.product(last) ?? matmul(last, .asStored, head.value, .transposed)
        return logits.reshaped([logits.count])
    }
}
