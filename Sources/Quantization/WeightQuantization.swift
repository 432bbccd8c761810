internal import Support
package import TensorCore

/// A method that chooses the integers of a weight. To add one, write it in a file of its own and list it in
/// ``WeightQuantizations``.
package protocol WeightQuantization: Sendable {
    /// Its name in settings.
    static var name: String { get }
    /// Its name for the user.
    static var label: String { get }
    /// Whether `quantize.recipe=auto` tries it.
    static var isTried: Bool { get }

    /// The statistics of the layer's inputs that it needs; nil for none.
    var inputs: InputStatistics.Depth? { get }

    /// The cost of choosing the integers of weights with `columns` inputs and `rows` rows in all, without the statistics.
    func cost(rows: Int, columns: Int, _ granularity: QuantizerGranularity) -> WeightQuantizationCost

    /// The setting that this method needs, such as `quantization.weights.symmetric=false`, where the quantizer differs; nil
    /// where it supports the quantizer.
    func conflict(with quantizer: WeightQuantizer) -> String?

    /// Whether, given the inputs, the integers of a row depend only on that row. Ranks can then divide a weight's rows.
    func isByRow(_ spec: QuantizerSpec) -> Bool

    /// The integers of weights `[out, in]` that read the same inputs.
    ///
    /// - Parameters:
    ///   - statistics: statistics of these inputs, at least as deep as ``inputs`` asks for.
    ///   - quantizer: bits, groups, and the search for a clip ratio.
    /// - Throws: ``QuantizationError``.
    /// - Precondition: fewer than 16 bits.
    func quantize(
        _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight]
}

/// The arithmetic of a method, besides a search for ranges.
package struct WeightQuantizationCost: Sendable, Equatable {
    /// Floating-point operations of matrix products, which ranks that divide rows divide, too.
    package var products = 0.0
    /// Operations in double precision that every rank repeats.
    package var solves = 0.0

    package init(products: Double = 0, solves: Double = 0) { (self.products, self.solves) = (products, solves) }
}

extension WeightQuantization {
    package static var isTried: Bool { false }

    package var name: String { Self.name }
    package var label: String { Self.label }
    package var isTried: Bool { Self.isTried }

    /// No cost besides the search for ranges.
    package func cost(rows: Int, columns: Int, _ granularity: QuantizerGranularity) -> WeightQuantizationCost {
        WeightQuantizationCost()
    }

    /// nil: every quantizer is supported.
    package func conflict(with quantizer: WeightQuantizer) -> String? { nil }

    /// True where no group spans several rows.
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

    /// - Throws: ``QuantizationError`` for weights that cannot be divided into these groups, or that have values that are not
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

/// All methods; `quantization.weights.method` names one. The first is the default, which every job supports.
package enum WeightQuantizations {
    package static let all: [any WeightQuantization] = [
        RoundToNearest(), GPTQ(), AbsMax(), ZeroPoint(),
    ]

    package static var names: [String] { all.map(\.name) }

    /// The method of this name, with its default settings; nil if there is none.
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
        QuantizationError(.data, "no calibration tokens reached the layer; give more calibration text (calibration.sequences)")
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
            "the second moment of the inputs has no Cholesky factor with a damping of \(damping); give more calibration text "
                + "(calibration.sequences), or more damping (quantization.weights.gptq.damping)")
    }

    static var inputsNotFinite: QuantizationError {
        QuantizationError(.data, "the inputs are not finite on the calibration text; check the model's weights")
    }
}
