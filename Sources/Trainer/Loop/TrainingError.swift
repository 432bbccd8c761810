package import Support

/// An error: a job cannot continue.
package enum TrainingError: ReportableError, Equatable {
    case diverged(step: Int)
    /// The network predicts all tokens with equal probability, whatever came before.
    case deadNetwork(vocabulary: Int)
    case invarianceBroken(error: Double, tolerance: Double)
    /// The bytes of ternary factors from another rank are inconsistent.
    case damagedFactors(rank: Int)

    package var exitCode: ExitCode {
        switch self {
        case .diverged, .deadNetwork: .data
        case .invarianceBroken, .damagedFactors: .software
        }
    }

    package var isCommon: Bool {
        switch self {
        case .diverged, .deadNetwork, .invarianceBroken: true
        case .damagedFactors: false
        }
    }

    package var description: String {
        switch self {
        case .diverged(let step):
            "training.learning_rate: the loss of step \(step) is not finite; lower the rate, or check the model and the text"
        case .deadNetwork(let vocabulary):
            "training.learning_rate: the trained network gives all \(vocabulary) tokens the same probability; "
                + "lower the rate"
        case .invarianceBroken(let error, let tolerance):
            "rotations: merging them changed a logit by \(error) of the largest one, more than \(tolerance); "
                + "this is a defect of the program or of the machine"
        case .damagedFactors(let rank):
            "ternary factors from rank \(rank) arrived damaged; this is a defect of the program or of the machine"
        }
    }
}
