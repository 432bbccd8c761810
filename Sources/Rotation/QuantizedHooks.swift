package import Autograd
package import LinearAlgebra
package import Models
package import Quantization
package import TensorCore

/// How activations and the KV cache are quantized, by the hook point of the values; none keeps float32.
package struct ActivationQuantization: Sendable {
    private var quantizers: [HookPoint: QuantizerSpec] = [:]
    package var gradient: QuantizerGradient

    /// Everything in float32.
    package static let none = ActivationQuantization(
        activationBits: 16, activationSymmetric: false, keyBits: 16, valueBits: 16, cacheSymmetric: false, headDimension: 1,
        gradient: .straightThrough)

    /// Bits of 16 or more mean no quantizer. The inputs of q, k and v, of gate and up, and of down have a range per token,
    /// widened to contain 0. Keys, after the rotary embedding, have one per head and token, widened, too. Values have one per
    /// head and token, not widened.
    ///
    /// - Parameters:
    ///   - outputPerHead: whether the output projection's input has a range for each head, not widened; otherwise it is rounded
    ///     like other linears' inputs.
    ///   - clipRatios: factors on these ranges.
    package init(
        activationBits: Int, activationSymmetric: Bool, activationRange: SymmetricRange = .restricted,
        outputPerHead: Bool = true, keyBits: Int, valueBits: Int, cacheSymmetric: Bool, clipRatios: ClipRatios = .none,
        headDimension d: Int, gradient: QuantizerGradient
    ) {
        self.gradient = gradient
        func add(_ site: HookPoint, _ bits: Int, _ symmetric: Bool, _ granularity: QuantizerGranularity, zero: Bool) {
            guard bits < 16 else { return }
            quantizers[site] = QuantizerSpec(
                bits: bits, symmetric: symmetric, granularity: granularity, clipRatio: Float(clipRatios[site]),
                includesZero: zero)
        }
        for site in [HookPoint.attentionInput, .mlpInput, .downInput] {
            add(site, activationBits, activationSymmetric, .token, zero: true)
        }
        add(.outputInput, activationBits, activationSymmetric, outputPerHead ? .head(d) : .token, zero: !outputPerHead)
        for site in quantizers.keys { quantizers[site]?.symmetricRange = activationRange }
        add(.key, keyBits, cacheSymmetric, .head(d), zero: true)
        add(.value, valueBits, cacheSymmetric, .head(d), zero: false)
    }

    /// The quantizer at a point; nil where values stay as they are.
    package subscript(point: HookPoint) -> QuantizerSpec? { quantizers[point] }

    /// The same without the quantizers at some points.
    package func without(_ points: [HookPoint]) -> ActivationQuantization {
        var result = self
        for point in points { result.quantizers[point] = nil }
        return result
    }
}

/// The hooks of a rotated, quantized network: online rotations, then quantizers, whose errors are observed where a gradient of
/// R1 or R2 is needed.
package struct QuantizedHooks: HookTransform {
    package var quantization: ActivationQuantization
    /// R1, for the sides that the plan does not rotate in the weights.
    package var r1: Tensor?
    package var sides: RotatedSides
    /// Transform of each head of q and k (R3); nil without.
    package var r3: HadamardTransform?
    /// Transform of the input of down (R4); nil without.
    package var r4: HadamardTransform?
    /// Accumulators of the gradients of R1 and R2, by block; empty where they are not needed.
    package var r1Gradients: [Int: RotationGradient]
    package var r2Gradients: [Int: RotationGradient]

    package init(
        quantization: ActivationQuantization, r1: Tensor? = nil, sides: RotatedSides = .all, r3: HadamardTransform? = nil,
        r4: HadamardTransform? = nil, r1Gradients: [Int: RotationGradient] = [:], r2Gradients: [Int: RotationGradient] = [:]
    ) {
        self.quantization = quantization
        self.r1 = r1
        self.sides = sides
        self.r3 = r3
        self.r4 = r4
        self.r1Gradients = r1Gradients
        self.r2Gradients = r2Gradients
    }

    /// Rotates and rounds as required at this hook point: R1 where the stream is entered or left, R3 and R4 before the
    /// quantizers.
    package func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
        func gradient(_ gradients: [Int: RotationGradient]) -> RotationGradient? { block.flatMap { gradients[$0] } }
        switch point {
        case .embedding, .attentionResidual, .mlpResidual: return enter(x, unless: sides.contains(point), on: tape)
        case .attentionInput, .mlpInput:
            return leave(quantize(x, at: point, gradient(r1Gradients), on: tape), unless: sides.contains(point), on: tape)
        case .query: return online(x, r3, on: tape)
        case .key: return quantize(online(x, r3, on: tape), at: point, nil, on: tape)
        case .value, .outputInput: return quantize(x, at: point, gradient(r2Gradients), on: tape)
        case .downInput: return quantize(online(x, r4, on: tape), at: point, nil, on: tape)
        case .headInput: return leave(x, unless: sides.contains(point), on: tape)
        }
    }

    /// Into rotated coordinates: x·R1.
    private func enter(_ x: Variable, unless inWeights: Bool, on tape: Tape) -> Variable {
        guard !inWeights, let r1 else { return x }
        return tape.product(x, constant: r1)
    }

    /// Back to the coordinates of unrotated weights: x·R1ᵀ.
    private func leave(_ x: Variable, unless inWeights: Bool, on tape: Tape) -> Variable {
        guard !inWeights, let r1 else { return x }
        return tape.product(x, constant: r1, transposed: true)
    }

    private func online(_ x: Variable, _ transform: HadamardTransform?, on tape: Tape) -> Variable {
        transform.map { tape.hadamard(x, $0) } ?? x
    }

    private func quantize(_ x: Variable, at point: HookPoint, _ observer: RotationGradient?, on tape: Tape) -> Variable {
        guard let spec = quantization[point] else { return x }
        // An observed gradient is needed even where nothing before the quantizer requires one.
        let observed = observer != nil && tape.isRecording && !x.requiresGradient ? Variable(parameter: x.value) : x
        return tape.fakeQuantize(observed, spec, gradient: quantization.gradient, observer: observer)
    }
}
