package import Models
internal import Quantization
internal import Rotation
internal import TensorCore
internal import TernarySVD

/// How the packed linears of a compressed network multiply.
package enum LinearProduct: String, Sendable, CaseIterable {
    /// In float32, of weights as they are and activations as they come: the reference.
    case float
    /// In integers: activations rounded to codes, exact sums of 32 bits. Ternary layers round their inputs and components to
    /// 8 bits.
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

    /// - Throws: ``QuantizationError`` for a weight or activations that have no product in integers.
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

    /// Of the layout that products read.
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

    /// Where all round x alike, x is rounded once, and threads share the rows of all.
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

/// Ternary factors that round as their ``IntegerLinear`` does, and multiply in float32.
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
    /// What `inIntegers(_:)` computes, in float32: the same roundings, with sums in another order. What its divergence is
    /// taken from.
    package func inRoundedFloats() -> CompressedModel {
        var result = self
        result.parameters = parameters.map { _, value in
            (value.linearOperator as? TernaryFactors).map { StoredTensor(RoundedFactors($0)) } ?? value
        }
        return result
    }

    /// The model with its packed linears multiplying in integers.
    ///
    /// Where activations are quantized, a linear's own rounding takes the place of the quantizer before it: the same codes.
    /// Linears that stay floats then read unrounded inputs, so that they are refused.
    ///
    /// - Throws: ``QuantizationError`` where integer weights have activations of 16 bits, linears are floats beside them, or a
    ///   zero point is out of reach.
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
                        "\(name): a product in integers needs activations of 2 to 8 bits, and these have 16; quantize with "
                            + "quantization.activations.bits=8, or leave eval.product=float")
                }
                return StoredTensor(try IntegerLinear(weight, activations: activations))
            default:
                guard execution.activationBits >= 16 else {
                    throw QuantizationError(.configuration, "\(name) is no integer; eval.product=float runs the model")
                }
                return value
            }
        }
        result.roundsInLinears = execution.activationBits < 16
        return result
    }
}
