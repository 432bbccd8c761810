package import LinearAlgebra
package import Support

/// A rotation that cannot be updated.
package enum RotationError: ReportableError, Equatable {
    /// The gradient holds NaN or infinity.
    case gradientNotFinite(step: Int)
    /// The linear algebra of the update failed.
    case linearAlgebra(LAPACKError)

    package var exitCode: ExitCode {
        switch self {
        case .gradientNotFinite: .data
        case .linearAlgebra(let error): error.exitCode
        }
    }

    /// The gradient is the sum over all ranks.
    package var isCommon: Bool { true }

    package var description: String {
        switch self {
        case .gradientNotFinite(let step):
            "the gradient of a rotation is not finite at step \(step); lower training.learning_rate or look for extreme values "
                + "in the model"
        case .linearAlgebra(let error): error.description
        }
    }
}
