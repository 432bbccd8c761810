package import Autograd
internal import Glibc
internal import TensorCore

/// The shape of a model of the Llama family: what `config.json` says, in one form whatever version of it wrote the file.
package struct LlamaConfiguration: Sendable, Equatable {
    package var family: Family
    package var vocabularySize: Int
    package var hiddenSize: Int
    package var intermediateSize: Int
    package var layers: Int
    package var heads: Int
    package var keyValueHeads: Int
    package var headDimension: Int
    package var maximumPositions: Int
    package var normEpsilon: Float
    package var rotary: RotaryScaling
    package var tiedEmbeddings: Bool
    /// Biases of q, k and v.
    package var inputBias: Bool
    /// Bias of the attention's output projection.
    package var outputBias: Bool
    /// Biases of gate, up and down.
    package var feedForwardBias: Bool

    /// Tokens that each layer's queries see, themselves included; nil for all. Empty where no layer has a window.
    package var windows: [Int?]
    /// See ``Architecture/paddingRow``.
    package var paddingRow: Int?

    /// Families that share the Llama's graph.
    package enum Family: String, Sendable, CaseIterable {
        case llama, mistral, qwen2, qwen3
    }

    /// RMSNorm on each head of q and k.
    package var headNorms: Bool { family == .qwen3 }

    /// The shape in a line.
    package var summary: String {
        let seen = Set(windows.compactMap(\.self)).sorted().map(String.init).joined(separator: ", ")
        return
            "\(family.rawValue), h \(hiddenSize), \(layers) layers, \(heads) heads (\(keyValueHeads) key-value) of "
            + "\(headDimension), f \(intermediateSize), vocabulary \(vocabularySize)"
            + (seen.isEmpty ? "" : ", sliding windows of \(seen) tokens in \(windows.compactMap(\.self).count) layers")
    }

    package init(
        family: Family, vocabularySize: Int, hiddenSize: Int, intermediateSize: Int, layers: Int, heads: Int,
        keyValueHeads: Int, headDimension: Int, maximumPositions: Int, normEpsilon: Float, rotary: RotaryScaling,
        tiedEmbeddings: Bool, inputBias: Bool, outputBias: Bool, feedForwardBias: Bool, windows: [Int?] = [],
        paddingRow: Int? = nil
    ) {
        self.family = family
        self.vocabularySize = vocabularySize
        self.hiddenSize = hiddenSize
        self.intermediateSize = intermediateSize
        self.layers = layers
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headDimension = headDimension
        self.maximumPositions = maximumPositions
        self.normEpsilon = normEpsilon
        self.rotary = rotary
        self.tiedEmbeddings = tiedEmbeddings
        self.inputBias = inputBias
        self.outputBias = outputBias
        self.feedForwardBias = feedForwardBias
        precondition(windows.isEmpty || windows.count == layers, "\(windows.count) windows for \(layers) layers")
        self.windows = windows
        self.paddingRow = paddingRow
    }
}

/// The base of the rotary angles and how they are stretched for longer contexts.
package struct RotaryScaling: Sendable, Equatable {
    /// How the angles are stretched.
    package enum Kind: Sendable, Equatable {
        case none
        /// Positions divided by `factor` (Chen et al., arXiv 2306.15595).
        case linear(factor: Double)
        /// Llama 3.1: long wavelengths divided by `factor`, short ones kept, those between blended.
        case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, originalPositions: Double)
    }
    package var base: Double
    package var kind: Kind

    package init(base: Double, kind: Kind = .none) {
        self.base = base
        self.kind = kind
    }

    /// base^(−2i/d) for i < d/2, scaled; radians per position.
    package func frequencies(headDimension d: Int) -> [Double] {
        (0..<d / 2).map { i in
            // The models' own code works in float32 here.
            let frequency = Double(Float(1) / powf(Float(base), Float(2 * i) / Float(d)))
            switch kind {
            case .none: return frequency
            case .linear(let factor): return frequency / factor
            case .llama3(let factor, let low, let high, let positions):
                let wavelength = 2 * Double.pi / frequency
                if wavelength < positions / high { return frequency }
                if wavelength > positions / low { return frequency / factor }
                let blend = (positions / wavelength - low) / (high - low)
                return (1 - blend) * frequency / factor + blend * frequency
            }
        }
    }

    /// Cosines and sines of these frequencies at each position.
    package func table(headDimension: Int, positions: Int) -> RotaryTable {
        RotaryTable(frequencies: frequencies(headDimension: headDimension), positions: positions)
    }
}
