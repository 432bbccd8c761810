package import Quantization
package import TensorCore
package import TernarySVD

/// A parameter of a compressed network: a linear layer's weight in the form that products use, or any parameter as floats.
package enum CompressedValue: TensorValue {
    case dense(StoredTensor)
    case integer(QuantizedWeight)
    case ternary(TernaryFactors)

    package var shape: [Int] {
        switch self {
        case .dense(let tensor): tensor.shape
        case .integer(let weight): weight.shape
        case .ternary(let factors): factors.shape
        }
    }

    package var tensor: Tensor { stored.tensor }

    package var stored: StoredTensor {
        switch self {
        case .dense(let tensor): tensor
        case .integer(let weight): StoredTensor(weight)
        case .ternary(let factors): StoredTensor(factors)
        }
    }

    /// The changed value, which is always a matrix of floats.
    package func mapped(_ change: @escaping @Sendable (inout Tensor) -> Void) -> CompressedValue {
        .dense(stored.mapped(change))
    }

    /// The changed value, which is always a matrix of floats, made some rows at a time.
    package func mappedRows(_ change: @escaping @Sendable (inout Tensor) -> Void) -> CompressedValue {
        .dense(stored.mappedRows(change))
    }
}
