internal import Glibc

/// A file of a model, a tokenizer or a set of rotations that cannot be read or written.
package struct FileError: ReportableError, Equatable {
    /// What is wrong with the file; each has an exit code of its own.
    package enum Kind: Sendable {
        /// The file breaks a rule of its format.
        case malformed
        /// The file, or something that must be in it, is not there.
        case missing
        /// The system refused to read or write.
        case inputOutput
    }

    package let kind: Kind
    /// The file, and the place in it (a key, a tensor, a byte offset) after a colon.
    package let place: String
    /// What is wrong and what to do about it.
    package let problem: String

    package init(_ kind: Kind, _ place: String, _ problem: String) {
        self.kind = kind
        self.place = place
        self.problem = problem
    }

    package var exitCode: ExitCode {
        switch kind {
        case .malformed: .data
        case .missing: .noInput
        case .inputOutput: .io
        }
    }

    /// One line, whatever the file's names contain.
    package var description: String { "\(place): \(problem)".singleLine }

    /// The same of a file or folder whose name is not the one that it is written under.
    package func calling(_ path: String, _ name: String) -> FileError {
        FileError(kind, place.hasPrefix(path) ? name + place.dropFirst(path.count) : place, problem)
    }

    /// Ends the process with the error's line and code, where the error cannot be thrown: in the middle of a computation.
    /// mpirun then ends the other ranks.
    package func endProcess() -> Never {
        _ = writeAll(Array("sq-train: error: \(description)\n".utf8), to: STDERR_FILENO)
        _exit(exitCode.rawValue)
    }
}
