import Models

/// Shapes of models that are planned for without being at hand.
enum PlanShapes {
    static func llama(
        hidden: Int, intermediate: Int, layers: Int, heads: Int, keyValueHeads: Int, headDimension: Int, vocabulary: Int,
        positions: Int = 8192, tied: Bool = false
    ) -> Architecture {
        LlamaConfiguration(
            family: .llama, vocabularySize: vocabulary, hiddenSize: hidden, intermediateSize: intermediate, layers: layers,
            heads: heads,
            keyValueHeads: keyValueHeads, headDimension: headDimension, maximumPositions: positions, normEpsilon: 1e-5,
            rotary: RotaryScaling(base: 10_000), tiedEmbeddings: tied, inputBias: false, outputBias: false,
            feedForwardBias: false
        ).architecture
    }

    /// The model that ships with the program.
    static let embedded = llama(
        hidden: 256, intermediate: 768, layers: 4, heads: 4, keyValueHeads: 2, headDimension: 64, vocabulary: 2048)
    /// SmolLM2-135M.
    static let smolLM2 = llama(
        hidden: 576, intermediate: 1536, layers: 30, heads: 9, keyValueHeads: 3, headDimension: 64, vocabulary: 49_152,
        tied: true)
    /// Layers that dwarf their ends.
    static let deep = llama(
        hidden: 512, intermediate: 1536, layers: 16, heads: 8, keyValueHeads: 8, headDimension: 64, vocabulary: 16)
    /// The same with a layer for each of 32 stages.
    static let deeper = llama(
        hidden: 512, intermediate: 1536, layers: 32, heads: 8, keyValueHeads: 8, headDimension: 64, vocabulary: 16)
    /// As published, by the beginning of their configurations' names.
    static let published = [
        "llama-3.2-1b": llama(
            hidden: 2048, intermediate: 8192, layers: 16, heads: 32, keyValueHeads: 8, headDimension: 64, vocabulary: 128_256,
            positions: 131_072, tied: true),
        "llama-3-8b": llama(
            hidden: 4096, intermediate: 14_336, layers: 32, heads: 32, keyValueHeads: 8, headDimension: 128, vocabulary: 128_256
        ),
        "llama-7b": llama(
            hidden: 4096, intermediate: 11_008, layers: 32, heads: 32, keyValueHeads: 32, headDimension: 128,
            vocabulary: 32_000,
            positions: 2048),
        "wiki-llama-4m": embedded,
    ]
}
