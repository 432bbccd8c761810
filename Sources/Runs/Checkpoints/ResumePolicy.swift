package import Parallelism
internal import Support

/// Whether a run resumes where an earlier one stopped.
package enum ResumePolicy: Sendable, Equatable {
    /// It resumes if the run folder holds checkpoints of a run that did not finish.
    case auto
    case never
    /// It resumes from a run folder, or from one of its checkpoints.
    case from(String)
    /// For a later attempt of a run that began from a checkpoint in its own folder that the user named: it resumes from the
    /// newest checkpoint that the run has saved since, or from that one. Other checkpoints of later steps belong to the
    /// previous run, which was abandoned.
    case since(String, run: String)

    package init(_ text: String) {
        switch text {
        case "auto": self = .auto
        case "never": self = .never
        default: self = .from(text)
        }
    }

    /// The run folder that ``from(_:)`` means: the path itself, or the folder that contains `checkpoints` or
    /// `checkpoints/step-N` at its end. A run's folder may also be called `checkpoints`, and then has its checkpoints in it.
    package var runFolder: String? {
        guard case .from(let path) = self else { return nil }
        func last(_ path: String) -> Substring { path.split(separator: "/").last ?? "" }
        let isStep = CheckpointFolder.step(ofName: last(path)) != nil
        let folder = isStep ? parentDirectory(of: path) : path
        guard last(folder) == CheckpointFolder.name,
            isStep || PathKind("\(folder)/\(CheckpointFolder.name)", followsLinks: true) != .folder
        else { return path }
        return parentDirectory(of: folder)
    }

    /// - Throws: ``CheckpointError/isFile(_:)`` where the user has named a file.
    package func checkPlace() throws(CheckpointError) {
        if case .from(let path) = self, PathKind(path, followsLinks: true) == .file { throw .isFile(path) }
    }

    /// Whether it names the run folder `folder`, or a checkpoint of the run in it.
    package func isFrom(_ folder: String) -> Bool { runFolder.map { isSamePlace($0, folder) } ?? false }

    /// Checkpoints to resume from, the newest first: those in `runFolder`, the run's own folder, or those in a place that the
    /// user named.
    ///
    /// - Throws: ``CheckpointError/nothing(_:)`` where there is none at that place; the error of a folder that cannot be read.
    func checkpoints(runFolder: String) throws -> [String] {
        switch self {
        case .never: return []
        case .auto:
            // A finished run is not resumed: the same command again is a new run.
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
        case .since(let path, let run):
            let folder = CheckpointFolder(path: "\(runFolder)/\(CheckpointFolder.name)")
            let own = try folder.steps().map(folder.checkpoint).filter { checkpoint in
                (try? CheckpointManifest(contentsOf: "\(checkpoint)/\(CheckpointManifest.fileName)"))?.run == run
            }
            do {
                return own + (try Self.from(path).checkpoints(runFolder: runFolder))
            } catch {
                // It is removed once there are `checkpoint.keep` newer ones.
                guard !own.isEmpty else { throw error }
                return own
            }
        }
    }

    /// The layout of the run to resume; nil for a run from the beginning. Errors of checkpoints are found when they are read.
    package func layout(runFolder: String) -> ParallelDims? {
        for checkpoint in (try? checkpoints(runFolder: runFolder)) ?? [] {
            let manifest = try? CheckpointManifest(contentsOf: "\(checkpoint)/\(CheckpointManifest.fileName)")
            if let manifest { return manifest.identity.layout }
        }
        return nil
    }
}
