package import Models
internal import Quantization
internal import Rotation
internal import TensorCore
internal import TernarySVD

/// How the packed linears of a compressed network multiply.
package enum LinearProduct: String, Sendable, CaseIterable {
    /// In float32, with dequantized weights and the given activations: the reference.
    case float
    /// In integers: activations are rounded to codes, and sums in 32 bits are exact. Ternary layers round their inputs and
    /// components to 8 bits.
    case integer
}

/// A packed linear that multiplies in integers, and rounds its input itself.
final class IntegerLinear: LinearOperator {
    private enum Product {
        case integer(IntegerProduct)
        case ternary(IntegerTernaryProduct)
    }

    private let weight: any LinearOperator
    private let product: Product

    /// - Throws: ``QuantizationError`` for a weight or activations without an integer product.
    init(_ weight: QuantizedWeight, activations: QuantizerSpec) throws(QuantizationError) {
        self.weight = weight
        product = .integer(try IntegerProduct(weight, activations: activations))
    }

    init(_ factors: TernaryFactors) {
        weight = factors
        product = .ternary(IntegerTernaryProduct(factors))
    }

    var shape: [Int] { weight.shape }
    var tensor: Tensor { weight.tensor }

    /// Bytes of the layout that products read.
    var byteCount: Int {
        switch product {
        case .integer(let product): product.byteCount
        case .ternary(let product): product.byteCount
        }
    }

    func product(_ x: Tensor) -> Tensor {
        switch product {
        case .integer(let product): product.apply(x)
        case .ternary(let product): product.apply(x)
        }
    }

    /// Where all layers round x alike, x is rounded once, and threads divide the rows of all layers.
    func products(_ x: Tensor, and others: [any LinearOperator]) -> [Tensor] {
        guard case .integer(let own) = product else { return [product(x)] + others.map { $0.product(x) } }
        let alike = others.compactMap { other -> IntegerProduct? in
            guard case .integer(let product) = (other as? IntegerLinear)?.product, product.reads(own) else { return nil }
            return product
        }
        guard alike.count == others.count else { return [product(x)] + others.map { $0.product(x) } }
        return IntegerProduct.apply([own] + alike, own.rounded(x))
    }
}

/// Ternary factors that round like their ``IntegerLinear``, and multiply in float32.
private struct RoundedFactors: LinearOperator {
    private let factors: TernaryFactors
    private let areWhole: Bool

    init(_ factors: TernaryFactors) { (self.factors, areWhole) = (factors, factors.areWholeNumbers) }

    var shape: [Int] { factors.shape }
    var tensor: Tensor { factors.tensor }
    var byteCount: Int { factors.byteCount }

    func product(_ x: Tensor) -> Tensor { factors.fakeQuantizedProduct(x, whole: areWhole) }
}

extension CompressedModel {
    /// The same roundings as in `inIntegers(_:)`, computed in float32 with sums in another order: the reference for its
    /// divergence.
    package func inRoundedFloats() -> CompressedModel {
        var result = self
        result.parameters = parameters.map { _, value in
            (value.linearOperator as? TernaryFactors).map { StoredTensor(RoundedFactors($0)) } ?? value
        }
        return result
    }

    /// The model with its packed linears multiplying in integers.
    ///
    /// Where activations are quantized, a linear's own rounding replaces the quantizer before it, with the same codes. Float
    /// linears would then read unrounded inputs, so they are refused.
    ///
    /// - Throws: ``QuantizationError`` where integer weights have activations of 16 bits, where there are float linears beside
    ///   them, or where a zero point is out of range.
    package func inIntegers(_ architecture: Architecture) throws -> CompressedModel {
        var result = self
        let quantization = execution.hooks(architecture).quantization
        result.parameters = try parameters.mapSpecs { name, spec, value in
            guard let ports = spec.ports else { return value }
            switch value.linearOperator {
            case let factors as TernaryFactors: return StoredTensor(IntegerLinear(factors))
            case let weight as QuantizedWeight:
                guard let activations = quantization[ports.reads] else {
                    throw QuantizationError(
                        .configuration,
                        "\(name): a product in integers needs activations of 2 to 8 bits, but these have 16; quantize with "
                            + "quantization.activations.bits=8, or leave eval.product=float")
                }
                do throws(QuantizationError) {
                    return StoredTensor(try IntegerLinear(weight, activations: activations))
                } catch {
                    throw error.of(name)
                }
            default:
                guard execution.activationBits >= 16 else {
                    throw QuantizationError(.configuration, "\(name) is not stored as integers; set eval.product=float")
                }
                return value
            }
        }
        result.roundsInLinears = execution.activationBits < 16
        return result
    }
}
