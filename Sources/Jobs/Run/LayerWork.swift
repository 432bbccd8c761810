internal import Calibration
internal import Quantization
internal import Support
internal import TensorCore
internal import TernarySVD
internal import Trainer

/// Work on one layer that uses statistics of its inputs, see ``CalibratedTernary``.
protocol LayerWork {
    associatedtype Norm: InputNorm
    associatedtype Made

    /// The word in the line of progress.
    static var verb: String { get }

    /// Called once, before the first of this rank's layers.
    func begin() throws
    /// Everything that the result depends on besides the weight, its inputs, the weighting and the sparsity, as text.
    func settings(_ layer: String) -> String
    func make(_ layer: CalibratedLayers.Layer, _ norm: Norm, eachStep: () throws -> Void) throws -> Made
    /// The result of an interrupted run.
    func kept(_ finished: FinishedLayers, _ source: FinishedLayers.Source) -> Made?
    func keep(_ made: Made, _ finished: FinishedLayers, _ source: FinishedLayers.Source) throws
}

extension LayerWork {
    func begin() {}
}

/// The norm that layers with the same inputs share.
protocol InputNorm: Sendable {
    init(_ statistics: InputStatistics) throws(QuantizationError)
}

extension OutputNorm: InputNorm {}
extension DigitNorm: InputNorm {}

/// Changes the factors of a decomposition to lower the error of the layer's outputs.
struct DescentWork: LayerWork {
    static let verb = "descending"
    /// Decompositions to start from, by the layers' names.
    let starts: [String: TernaryReport.Layer]
    let weighting: TernaryWeighting
    let sparsity: TernarySparsity

    func settings(_ layer: String) -> String { "\(WeightedDescent.rounds) rounds" }

    func make(
        _ layer: CalibratedLayers.Layer, _ norm: OutputNorm, eachStep: () throws -> Void
    ) throws -> TernaryReport.Layer {
        guard let start = starts[layer.name] else { preconditionFailure("\(layer.name) was not decomposed") }
        var descent = WeightedDescent(
            layer.weight, start.factors.decomposition(error: Float(start.relativeError)), norm, weighting, sparsity: sparsity)
        try descent.run(rounds: WeightedDescent.rounds, eachStep: eachStep)
        let factors = TernaryFactors(descent.decomposition(), tolerance: start.factors.tolerance, sparsity: sparsity)
        return TernaryReport.Layer(
            name: layer.name, factors: factors, relativeError: try factors.relativeError(layer.weight),
            weightedError: descent.relativeError)
    }

    func kept(_ finished: FinishedLayers, _ source: FinishedLayers.Source) -> TernaryReport.Layer? {
        finished.layer(source, .descent)
    }

    func keep(_ made: TernaryReport.Layer, _ finished: FinishedLayers, _ source: FinishedLayers.Source) throws {
        try finished.keep(made, source, .descent)
    }
}

/// Makes whole numbers with ternary digits, within a budget of bits.
final class DigitWork: LayerWork {
    static let verb = "choosing digits"

    var budget: DigitBudget
    private let places: [String: Int]
    private let weighting: TernaryWeighting
    private let sparsity: TernarySparsity

    private let resume: (inout DigitBudget) throws -> Void

    /// - Parameters:
    ///   - places: the layers' places in the budget, by their names.
    ///   - resume: called with the budget before the first layer.
    init(
        budget: DigitBudget, places: [String: Int], weighting: TernaryWeighting, sparsity: TernarySparsity,
        resume: @escaping (inout DigitBudget) throws -> Void
    ) {
        (self.budget, self.places, self.weighting, self.sparsity) = (budget, places, weighting, sparsity)
        self.resume = resume
    }

    func begin() throws { try resume(&budget) }

    private func epsilon(_ layer: String) -> Double {
        guard let place = places[layer] else { preconditionFailure("\(layer) is not in the budget") }
        return budget.epsilon(place)
    }

    func settings(_ layer: String) -> String { "\(epsilon(layer))" }

    func make(
        _ layer: CalibratedLayers.Layer, _ norm: DigitNorm, eachStep: () throws -> Void
    ) throws -> TernaryReport.Layer {
        let digits = TernaryDigits(layer.weight, norm, weighting, sparsity: sparsity)
        let result = try digits.factors(epsilon: epsilon(layer.name), eachStep: eachStep)
        return TernaryReport.Layer(
            name: layer.name, factors: result.factors, relativeError: try result.factors.relativeError(layer.weight),
            weightedError: result.relativeError)
    }

    func kept(_ finished: FinishedLayers, _ source: FinishedLayers.Source) -> TernaryReport.Layer? {
        finished.layer(source, .digits)
    }

    func keep(_ made: TernaryReport.Layer, _ finished: FinishedLayers, _ source: FinishedLayers.Source) throws {
        try finished.keep(made, source, .digits)
    }
}

/// Finds the bits that a layer takes for each of ``DigitBudget/drafts``.
struct DraftWork: LayerWork {
    static let verb = "drafting"

    /// The layers' places in `counts`, by their names.
    let places: [String: Int]
    /// Number of weights of each layer.
    let counts: [Int]
    let weighting: TernaryWeighting
    let sparsity: TernarySparsity

    private func epsilons(_ layer: String) -> [Double] {
        guard let place = places[layer] else { preconditionFailure("\(layer) is not to be drafted") }
        return DigitBudget.drafts.map { DigitBudget.epsilon($0, place, of: counts) }
    }

    func settings(_ layer: String) -> String { "\(epsilons(layer))" }

    func make(_ layer: CalibratedLayers.Layer, _ norm: DigitNorm, eachStep: () throws -> Void) throws -> [Double] {
        let digits = TernaryDigits(layer.weight, norm, weighting, sparsity: sparsity)
        return try epsilons(layer.name).map {
            try eachStep()
            return digits.draftedBits(epsilon: $0)
        }
    }

    func kept(_ finished: FinishedLayers, _ source: FinishedLayers.Source) -> [Double]? { finished.numbers(source, .drafts) }

    func keep(_ made: [Double], _ finished: FinishedLayers, _ source: FinishedLayers.Source) throws {
        try finished.keep(made, source, .drafts)
    }
}
