package import Support

/// An error: a run cannot resume where another one stopped.
package enum CheckpointError: ReportableError, Equatable {
    case nothing(String)
    case isFile(String)
    /// `isOwn`: of the run's own folder, and not of another that the user has named.
    case allDamaged(String, String, isOwn: Bool)
    case damaged(String, String)
    case otherVersion(String, Int)
    case differs(String, String)
    /// As ``differs(_:_:)``, of a checkpoint that is tried since a newer one is damaged, with what is wrong with that.
    case onlyOlder(String, String, damaged: String)
    case lacks(String)
    case unreadable(FileError)

    package var exitCode: ExitCode {
        switch self {
        case .nothing, .isFile: .noInput
        case .allDamaged, .damaged, .lacks, .onlyOlder: .data
        case .otherVersion, .differs: .configuration
        case .unreadable(let error): error.exitCode
        }
    }

    private static let places = "--resume takes a run folder or one of its checkpoints"

    package var description: String {
        switch self {
        case .nothing(let path): "\(path): holds no checkpoint; \(Self.places)"
        case .isFile(let path): "\(path): is a file; \(Self.places)"
        case .allDamaged(let folder, let problem, let isOwn):
            "\(folder): no checkpoint can be read (the newest: \(problem)); "
                + (isOwn ? "--overwrite, without --resume, starts from the beginning" : "leave --resume out to start anew")
        case .damaged(let path, let problem): "\(path): \(problem)"
        case .otherVersion(let path, let version):
            "\(path): checkpoint of format \(version), which this program is too old for; it reads "
                + "\(CheckpointManifest.version)"
        case .differs(let path, let difference):
            "\(path): the checkpoint is of another run: \(difference); run it as then, give another --out, or start from the "
                + "beginning with --overwrite"
        case .onlyOlder(let path, let difference, let damaged):
            "\(damaged); the older \(path) cannot take its place (\(difference)): restore the damaged one, or start from the "
                + "beginning with --overwrite"
        case .unreadable(let error): error.description
        case .lacks(let name): "the checkpoint has no \(name); another version of this program has written it"
        }
    }
}
