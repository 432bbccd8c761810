package import Parallelism
internal import Support

/// Whether a run resumes where an earlier one stopped.
package enum ResumePolicy: Sendable, Equatable {
    /// Where the run folder holds checkpoints of a run that did not end.
    case auto
    case never
    /// From a run folder, or from one of its checkpoints.
    case from(String)

    package init(_ text: String) {
        switch text {
        case "auto": self = .auto
        case "never": self = .never
        default: self = .from(text)
        }
    }

    /// The run folder meant by ``from(_:)``.
    package var runFolder: String? {
        guard case .from(let path) = self else { return nil }
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard let place = parts.lastIndex(of: Substring(CheckpointFolder.name)), place > 0 else { return path }
        return parts[..<place].joined(separator: "/")
    }

    /// Checkpoints to resume from, the newest first; those of `runFolder`, the run's own, or those of a place the user named.
    ///
    /// - Throws: ``CheckpointError/nothing(_:)`` where none is at that place, and what keeps a folder from being read.
    func checkpoints(runFolder: String) throws -> [String] {
        switch self {
        case .never: return []
        case .auto:
            // A run that ended is not resumed: the same command again is a new run.
            guard PathKind("\(runFolder)/\(RunFolder.summaryName)") == .absent else { return [] }
            let folder = CheckpointFolder(path: "\(runFolder)/\(CheckpointFolder.name)")
            return try folder.steps().map(folder.checkpoint)
        case .from(let path):
            if PathKind("\(path)/\(CheckpointManifest.fileName)") != .absent { return [path] }
            for place in [path, "\(path)/\(CheckpointFolder.name)"] {
                let folder = CheckpointFolder(path: place)
                let steps = try folder.steps()
                if !steps.isEmpty { return steps.map(folder.checkpoint) }
            }
            throw CheckpointError.nothing(path)
        }
    }

    /// How the run to resume was divided; nil from the beginning. What is wrong with checkpoints is found when they are
    /// read.
    package func layout(runFolder: String) -> ParallelDims? {
        for checkpoint in (try? checkpoints(runFolder: runFolder)) ?? [] {
            let manifest = try? CheckpointManifest(contentsOf: "\(checkpoint)/\(CheckpointManifest.fileName)")
            if let manifest { return manifest.identity.layout }
        }
        return nil
    }
}
