import Compression
import EmbeddedModel
import HuggingFace
import LinearAlgebra
import Models
import Quantization
import Rotation
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

@testable import Generation

/// What the cache and the kernels for one token make is what whole sequences make.
@Suite struct RunnableModelTests {
    private let scratch: TemporaryFolder

    init() throws { scratch = try TemporaryFolder() }

    private static let prompt = [Int32]([3, 17, 5, 29, 11, 7])

    /// Tokens by one step after the other, each the likeliest.
    private func greedy(_ model: RunnableModel, _ prompt: [Int32], count: Int) throws -> [Int32] {
        var tokens: [Int32] = []
        var generator = Generator(model, capacity: prompt.count + count, choice: TokenChoice(), endTokens: [])
        #expect(try generator.run(prompt, most: count) { tokens.append($0) } == .length)
        return tokens
    }

    /// That each token is the likeliest after those before it, in a forward pass over all of them.
    ///
    /// - Parameter margin: by which its logit may be less. Sums in another order differ in the last bit, and where activations
    ///   are rounded that bit can decide a code.
    private func expectLikeliest(
        _ tokens: [Int32], after prompt: [Int32], _ compressed: CompressedModel, _ model: Model, margin: Float = 0,
        _ comment: Comment
    ) {
        let whole = compressed.network(model).outputs([prompt + tokens], from: nil)
        let logits = matmul(whole, .asStored, compressed.parameters.logitWeight.tensor, .transposed)
        for (place, token) in tokens.enumerated() {
            let row = logits.rows(prompt.count + place - 1..<prompt.count + place)
            var best = 0
            for column in 0..<row.count where row[flat: column] > row[flat: best] { best = column }
            let less = row[flat: best] - row[flat: Int(token)]
            #expect(less <= margin, "\(comment), token \(place)")
        }
    }

    @Test(arguments: [
        "llama_base_hf", "llama_biased_hf", "llama_rope3_hf", "llama_tied_hf", "mistral_sliding_hf", "mistral_wide_head_hf",
        "qwen2_hf", "qwen2_sliding_hf", "qwen3_hf", "opt_hf", "opt350_style_hf",
    ]) func `greedy tokens are the likeliest of the full forward pass, in every family`(_ name: String) throws {
        let folder = try CompressedFolder(GoldenSuite.testsFolder + "/Golden/llama/" + name)
        let count = min(40, folder.folder.architecture.maximumPositions) - Self.prompt.count
        let model = try RunnableModel(folder, product: .float, cacheBits: nil, positions: Self.prompt.count + count)
        let tokens = try greedy(model, Self.prompt, count: count)
        expectLikeliest(
            tokens, after: Self.prompt, try CompressedModel(reading: folder),
            folder.folder.description.model(positions: Self.prompt.count + count), "\(name)")
    }

    /// Writes the embedded model with its linears packed.
    private func compressed(
        _ execution: Execution, _ pack: (Tensor) -> CompressedValue
    ) throws -> CompressedFolder {
        let source = try ModelFolder(EmbeddedModel.path)
        var (integers, factors) = ([String: QuantizerSpec](), [String: TernaryFactors]())
        let parameters = try source.parameters().mapSpecs { name, spec, value -> CompressedValue in
            guard spec.ports != nil else { return .dense(StoredTensor(value)) }
            let packed = pack(value)
            switch packed {
            case .integer(let weight): integers[String(name.dropLast(".weight".count))] = weight.spec
            case .ternary(let ternary): factors[String(name.dropLast(".weight".count))] = ternary
            case .dense: break
            }
            return packed
        }
        try FolderPacking(integers: integers, factors: factors, execution: execution, isPortable: false)
            .write(parameters, from: source, as: .bf16, to: scratch.file("model"))
        return try CompressedFolder(scratch.file("model"))
    }

    private static let spec = QuantizerSpec(bits: 4, symmetric: true, granularity: .channel)

    private typealias Bits = (inputs: Int, cache: Int, symmetric: Bool)
    /// Inputs that are not rounded have no integers to multiply.
    private static let products: [(Bits, LinearProduct)] =
        [(16, 16, false), (16, 3, false), (16, 4, true)].map { ($0, .float) }
        + [(8, 8, false), (8, 4, false), (8, 8, true)].flatMap { bits in LinearProduct.allCases.map { (bits, $0) } }

    /// The cache rounds as the quantizers at the hook points do.
    @Test(arguments: products)
    func `packed integers run as their folder says`(_ bits: (inputs: Int, cache: Int, symmetric: Bool), product: LinearProduct)
        throws
    {
        var execution = Execution()
        (execution.activationBits, execution.keyBits, execution.valueBits) = (bits.inputs, bits.cache, bits.cache)
        (execution.cacheSymmetric, execution.r3, execution.r4) = (bits.symmetric, true, true)
        let folder = try compressed(execution) { .integer(WeightQuantizer(Self.spec).quantized($0)) }
        let model = try RunnableModel(folder, product: product, cacheBits: nil, positions: 64)
        #expect(model.keys.bits == bits.cache && model.values.bits == bits.cache)
        let tokens = try greedy(model, Self.prompt, count: 24)
        var expected = try CompressedModel(reading: folder)
        if product == .integer { expected = try expected.inIntegers(folder.folder.architecture) }
        expectLikeliest(
            tokens, after: Self.prompt, expected, folder.folder.description.model(positions: 64),
            margin: bits.inputs < 16 ? 0.3 : 0, "\(bits)")
    }

    /// A cache of other bits than the folder's has ratios of 1.
    @Test(arguments: LinearProduct.allCases, [false, true])
    func `ratios count in the cache as at the hook points`(_ product: LinearProduct, symmetric: Bool) throws {
        var execution = Execution()
        (execution.activationBits, execution.keyBits, execution.valueBits) = (8, 4, 4)
        (execution.cacheSymmetric, execution.r3, execution.r4) = (symmetric, true, true)
        (execution.clipRatios[.key], execution.clipRatios[.value], execution.clipRatios[.downInput]) = (0.6, 0.7, 0.9)
        let folder = try compressed(execution) { .integer(WeightQuantizer(Self.spec).quantized($0)) }
        let model = try RunnableModel(folder, product: product, cacheBits: nil, positions: 64)
        #expect(model.keys.clipRatio == 0.6 && model.values.clipRatio == 0.7)
        #expect(try RunnableModel(folder, product: product, cacheBits: 4, positions: 64).keys == model.keys)
        #expect(try RunnableModel(folder, product: product, cacheBits: 8, positions: 64).keys.clipRatio == 1)
        var expected = try CompressedModel(reading: folder)
        if product == .integer { expected = try expected.inIntegers(folder.folder.architecture) }
        func distance(_ network: Network<QuantizedHooks>) -> Float {
            let whole = network.outputs([Self.prompt], from: nil)
            let logits = matmul(whole, .asStored, expected.parameters.logitWeight.tensor, .transposed)
            let read = TokenSequence(model, capacity: 64).read(Self.prompt)
            return maxDifference(logits.rows(logits.rows - 1..<logits.rows).reshaped([read.count]), read)
        }
        let description = folder.folder.description.model(positions: 64)
        // Sums in another order decide no code of this prompt.
        #expect(distance(expected.network(description)) < 0.05)
        expected.execution.clipRatios = .none
        #expect(distance(expected.network(description)) > 0.1)
    }

    /// Each token reads the head's codes, and a row of the embedding's.
    @Test func `embedding and head of integers run, and are read as codes`() throws {
        let source = try ModelFolder(EmbeddedModel.path)
        let spec = QuantizerSpec(bits: 8, symmetric: true, granularity: .channel)
        let parameters = try source.parameters().mapSpecs { _, parameter, value -> CompressedValue in
            [.embedding, .head].contains(parameter.role)
                ? .integer(WeightQuantizer(spec).quantized(value)) : .dense(StoredTensor(value))
        }
        try FolderPacking(embedding: spec, head: spec).write(parameters, from: source, as: .bf16, to: scratch.file("tables"))
        let folder = try CompressedFolder(scratch.file("tables"))
        let model = try RunnableModel(folder, product: .float, cacheBits: nil, positions: 64)
        let floats = try RunnableModel(
            CompressedFolder(EmbeddedModel.path), product: .float, cacheBits: nil, positions: 64)
        let tokens = try greedy(model, Self.prompt, count: 24)
        expectLikeliest(
            tokens, after: Self.prompt, try CompressedModel(reading: folder),
            folder.folder.description.model(positions: 64), "tables of 8 bits")
        // From 2 bytes an entry to 1, with scale and zero point.
        let (rows, columns) = (source.architecture.vocabularySize, source.architecture.hiddenSize)
        #expect(floats.bytesPerToken - model.bytesPerToken == (rows + 1) * (columns - 8))
    }

    @Test(arguments: LinearProduct.allCases) func `ternary factors run`(_ product: LinearProduct) throws {
        let folder = try compressed(.plain) { weight in
            let decomposition = ternaryDecomposition(weight)
            return .ternary(decomposition)
        }
        let model = try RunnableModel(folder, product: product, cacheBits: nil, positions: 64)
        var expected = try CompressedModel(reading: folder)
        if product == .integer { expected = try expected.inIntegers(folder.folder.architecture) }
        expectLikeliest(
            try greedy(model, Self.prompt, count: 16), after: Self.prompt, expected,
            folder.folder.description.model(positions: 64), margin: product == .float ? 0 : 0.3, "\(product)")
    }

    /// Signs of the matrix's rows: not a decomposition worth having, but factors.
    private func ternaryDecomposition(_ weight: Tensor) -> TernaryFactors {
        let k = weight.rows
        var signs = weight
        for index in 0..<signs.count {
            signs[flat: index] = abs(weight[flat: index]) < 0.02 ? 0 : weight[flat: index] < 0 ? -1 : 1
        }
        return TernaryFactors(
            u: PackedTernary(Tensor(identity: k)), s: [Float](repeating: 0.05, count: k), v: PackedTernary(signs),
            tolerance: 0.1)
    }

    /// Tensors of the pool, the same for every token.
    @Test func `a token after the first asks the system for no memory`() async {
        // In a process of its own: other tests take memory of the same pool, and give it back to the system.
        await #expect(processExitsWith: .success) {
            var execution = Execution()
            execution.activationBits = 8
            let tests = try RunnableModelTests()
            let folder = try tests.compressed(execution) {
                .integer(WeightQuantizer(RunnableModelTests.spec).quantized($0))
            }
            let model = try RunnableModel(folder, product: .integer, cacheBits: 8, positions: 200)
            let sequence = TokenSequence(model, capacity: 200)
            _ = sequence.read(RunnableModelTests.prompt)
            _ = sequence.read([1])
            let before = StoragePool.shared.systemAllocations
            for token in 0..<180 { _ = sequence.read([Int32(token)]) }
            #expect(StoragePool.shared.systemAllocations == before)
            withExtendedLifetime(tests) {}
        }
    }

    @Test func `a cache of fewer bits reads fewer bytes`() throws {
        let folder = try CompressedFolder(EmbeddedModel.path)
        let bytes = try [16, 8, 4].map { bits in
            let sequence = TokenSequence(
                try RunnableModel(folder, product: .float, cacheBits: bits, positions: 200), capacity: 200)
            let empty = sequence.bytesRead
            _ = sequence.read([Int32](repeating: 5, count: 100))
            return sequence.bytesRead - empty
        }
        let shape = folder.folder.architecture
        let heads = shape.blocks.compactMap(\.heads)
        #expect(heads.count == shape.layerCount)
        let numbers = 100 * heads.reduce(0) { $0 + 2 * $1.keyValue * $1.dimension }
        let scales = numbers / (try #require(shape.headDimension)) * 8
        #expect(bytes == [2 * numbers + scales / 2, numbers + scales, numbers / 2 + scales])
    }

    /// A tied embedding is a table on the first stage and the head on the last.
    @Test(arguments: ["llama_base_hf", "llama_tied_hf", "opt_hf"]) func `stages read what the whole model reads`(_ name: String)
        throws
    {
        let folder = try CompressedFolder(GoldenSuite.testsFolder + "/Golden/llama/" + name)
        func bytes(_ stage: Range<Int>?) throws -> Int {
            try RunnableModel(folder, product: .float, cacheBits: nil, positions: 8, stage: stage).bytesPerToken
        }
        let blocks = folder.folder.architecture.blocks.count
        #expect(blocks >= 4)
        #expect(try bytes(0..<1) + bytes(1..<blocks) == bytes(nil))
    }

    @Test func `generation ends at a token that ends a text`() throws {
        let folder = try CompressedFolder(EmbeddedModel.path)
        let model = try RunnableModel(folder, product: .float, cacheBits: nil, positions: 64)
        let tokens = try greedy(model, Self.prompt, count: 12)
        var (made, generator) = ([Int32](), Generator(model, capacity: 64, choice: TokenChoice(), endTokens: [tokens[7]]))
        let end = try generator.run(Self.prompt, most: 12) { made.append($0) }
        let first = try #require(tokens.firstIndex(of: tokens[7]))
        #expect(end == .stop && made == Array(tokens[..<first]))
    }

    /// Letters of several bytes, whose tokens are parts of them.
    @Test func `text that comes in pieces is the text of all tokens`() throws {
        let tokenizer = try Tokenizer(folder: EmbeddedModel.path)
        for text in [
            "The café — naïve “quotes” 你好 🙂🙂 e\u{301} end", "a \u{600}é \u{600}🙂", " leading", "a\n\nb", "🙂",
            "\u{1F468}\u{200D}\u{1F469}",
        ] {
            let (context, tokens) = (tokenizer.encode("Once upon").ids, tokenizer.encode(text).ids)
            var stream = TextStream(tokenizer, after: context)
            var pieces = tokens.map { stream.append($0) }
            pieces.append(stream.finish())
            #expect(
                pieces.joined()
                    == tokenizer.decode(context + tokens, skipSpecialTokens: true).replacing(
                        "Once upon", with: "", maxReplacements: 1))
            #expect(!pieces.dropLast().contains { $0.contains("\u{FFFD}") }, "\(text)")
        }
    }

    /// A decoder that falls back to bytes makes nothing of a run of them that begins inside a character.
    @Test(arguments: ["", "字語", "a你界"]) func `characters outside the vocabulary come whole`(_ before: String) throws {
        let bytes = (0..<256).map { "\"<0x\(hex(UInt8($0)))>\": \($0)" }.joined(separator: ", ")
        let json = """
            {"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
             "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
             "model": {"type": "BPE", "byte_fallback": true, "vocab": {\(bytes), "a": 256}, "merges": []}}
            """
        let folder = try TemporaryFolder()
        try AtomicFile.write(json, to: folder.file("tokenizer.json"))
        let tokenizer = try Tokenizer(contentsOf: folder.file("tokenizer.json"))
        let text = "你界文字語韓a"
        var stream = TextStream(tokenizer, after: tokenizer.encode(before).ids)
        var pieces = tokenizer.encode(text).ids.map { stream.append($0) }
        pieces.append(stream.finish())
        #expect(pieces.joined() == text)
    }

    private func hex(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16, uppercase: true)
        return byte < 16 ? "0" + digits : digits
    }
}
