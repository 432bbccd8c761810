package import Support
internal import TensorCore

/// A model that cannot leave in the form asked for, or a place that it cannot go to.
package struct ExportError: ReportableError, Equatable {
    /// What is wrong: the model, the place, or the result.
    package enum Kind: Sendable {
        /// The format cannot hold it.
        case unfit
        /// Something is there already, or names make no sense together.
        case place
        /// What was written is not what was to be written.
        case unequal
    }

    package let kind: Kind
    package let place: String
    /// What is wrong and what to do about it.
    package let problem: String

    package init(_ kind: Kind, _ place: String, _ problem: String) {
        (self.kind, self.place, self.problem) = (kind, place, problem)
    }

    /// The same of a file or folder whose name is not the one that it is written under.
    func calling(_ path: String, _ name: String) -> ExportError {
        ExportError(kind, place.hasPrefix(path) ? name + place.dropFirst(path.count) : place, problem)
    }

    package var exitCode: ExitCode {
        switch kind {
        case .unfit, .place: .configuration
        case .unequal: .software
        }
    }

    package var description: String { "\(place): \(problem)".singleLine }
}
