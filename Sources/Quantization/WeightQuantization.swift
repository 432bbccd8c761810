internal import Support
package import TensorCore

/// A way to choose the integers of a weight. To add one, write it in a file of its own and list it in
/// ``WeightQuantizations``.
package protocol WeightQuantization: Sendable {
    /// As settings name it.
    static var name: String { get }
    /// For the user.
    static var label: String { get }
    /// Whether `quantize.recipe=auto` tries it.
    static var isTried: Bool { get }

    /// What it must know of the layer's inputs; nil for nothing.
    var inputs: InputStatistics.Depth? { get }

    /// What choosing the integers of weights with these inputs and, together, these rows takes, but for the statistics.
    func cost(rows: Int, columns: Int, _ granularity: QuantizerGranularity) -> WeightQuantizationCost

    /// The setting this way needs, such as `quantization.weights.symmetric=false`, where the quantizer says otherwise; nil
    /// where it takes the quantizer.
    func conflict(with quantizer: WeightQuantizer) -> String?

    /// Whether the integers of a row depend on that row alone, given the inputs: ranks can then share a weight's rows.
    func isByRow(_ spec: QuantizerSpec) -> Bool

    /// The integers of weights `[out, in]` that read the same inputs.
    ///
    /// - Parameters:
    ///   - statistics: of these inputs, at least as deep as ``inputs`` asks for.
    ///   - quantizer: bits, groups, and the search for a clip ratio.
    /// - Throws: ``QuantizationError``.
    /// - Precondition: fewer than 16 bits.
    func quantize(
        _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight]
}

/// Arithmetic that a method takes besides a search for ranges.
package struct WeightQuantizationCost: Sendable, Equatable {
    /// Floating-point operations of matrix products; shared by the ranks that share rows.
    package var products = 0.0
    /// Operations in double precision that every rank does.
    package var solves = 0.0

    package init(products: Double = 0, solves: Double = 0) { (self.products, self.solves) = (products, solves) }
}

extension WeightQuantization {
    package static var isTried: Bool { false }

    package var name: String { Self.name }
    package var label: String { Self.label }
    package var isTried: Bool { Self.isTried }

    /// None but the search for ranges.
    package func cost(rows: Int, columns: Int, _ granularity: QuantizerGranularity) -> WeightQuantizationCost {
        WeightQuantizationCost()
    }

    /// None: every quantizer is taken.
    package func conflict(with quantizer: WeightQuantizer) -> String? { nil }

    /// Where no group reaches over rows.
    package func isByRow(_ spec: QuantizerSpec) -> Bool {
        switch spec.granularity {
        case .channel, .token, .group, .head: true
        case .tensor, .column: false
        }
    }

    /// The integers of one weight.
    package func quantize(
        _ weight: Tensor, _ statistics: InputStatistics? = nil, _ quantizer: WeightQuantizer
    ) throws -> QuantizedWeight {
        try quantize([weight], statistics, quantizer)[0]
    }

    /// - Throws: ``QuantizationError`` for weights that cannot be divided into these groups, or have values that are not
    ///   finite.
    package func check(_ weights: [Tensor], _ spec: QuantizerSpec) throws(QuantizationError) {
        for weight in weights {
            precondition(weight.shape.count == 2 && spec.isActive, "\(spec.bits)-bit integers of a weight \(weight.shape)")
            switch spec.granularity {
            case .group(let size), .head(let size):
                guard weight.columns % size == 0 else { throw .groups(columns: weight.columns, size: size) }
            case .tensor, .channel, .column, .token: break
            }
            guard weight.isFinite else { throw .weightNotFinite }
        }
    }
}

/// The ways there are: `quantization.weights.method` names one. The first is the default, which every job can do.
package enum WeightQuantizations {
    package static let all: [any WeightQuantization] = [
        RoundToNearest(), GPTQ(), AbsMax(), ZeroPoint(),
    ]

    package static var names: [String] { all.map(\.name) }

    /// The one of this name, with its own settings as they are by default; nil if there is none.
    package static func named(_ name: String) -> (any WeightQuantization)? { all.first { $0.name == name } }
}

extension QuantizationError {
    static func groups(columns: Int, size: Int) -> QuantizationError {
        QuantizationError(
            .configuration,
            "rows of \(columns) weights do not split into groups of \(size); "
                + "\(GroupSizes.advice(for: size, dividing: [columns]))")
    }

    static func granularity(method: String, _ granularity: String) -> QuantizationError {
        QuantizationError(
            .configuration,
            "\(method) does not give each \(granularity) a range of its own; choose rows, groups or the whole weight")
    }

    static var weightNotFinite: QuantizationError {
        QuantizationError(.data, "the weight has values that are not finite; check the model")
    }

    static var noInputs: QuantizationError {
        QuantizationError(.data, "no calibration tokens reached the layer; give more calibration text")
    }

    static var inputsZero: QuantizationError {
        QuantizationError(
            .data,
            "the inputs are 0, or too small for their squares to be told from 0, on all of the calibration text; check the "
                + "model's weights")
    }

    static func singular(damping: Double) -> QuantizationError {
        QuantizationError(
            .data,
            "the second moment of the inputs has no Cholesky factor with a damping of \(damping); give more calibration text, "
                + "or more damping")
    }

    static var inputsNotFinite: QuantizationError {
        QuantizationError(.data, "the inputs are not finite on the calibration text; check the model's weights")
    }
}
