package import Support
internal import TensorCore

/// Calibration that cannot be done.
package enum CalibrationError: ReportableError {
    case noWindows
    /// What went wrong with a layer, by its name.
    case layer(String, any ReportableError)

    package var exitCode: ExitCode {
        switch self {
        case .noWindows: .data
        case .layer(_, let error): error.exitCode
        }
    }

    package var isCommon: Bool {
        switch self {
        case .noWindows: true
        case .layer: false
        }
    }

    package var description: String {
        switch self {
        case .noWindows: "calibration text: no complete window; give more text or a smaller data.sequence_length"
        case .layer(let name, let error): "\(name): \(error)"
        }
    }
}
