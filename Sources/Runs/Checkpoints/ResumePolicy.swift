package import Parallelism
internal import Support

/// Whether a run resumes where an earlier one stopped.
package enum ResumePolicy: Sendable, Equatable {
    /// Where the run folder holds checkpoints of a run that did not end.
    case auto
    case never
    /// From a run folder, or from one of its checkpoints.
    case from(String)
    /// A later attempt of a run that has begun from a checkpoint of its own folder, which the user named: where the run has
    /// saved since, or there. What later steps the folder has besides is of the run before, which was given up.
    case since(String, run: String)

    package init(_ text: String) {
        switch text {
        case "auto": self = .auto
        case "never": self = .never
        default: self = .from(text)
        }
    }

    /// The run folder meant by ``from(_:)``: the path, or what `checkpoints` or `checkpoints/step-N` at its end is in. A run's
    /// folder may have that name, too, and then has its checkpoints in it.
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

    /// Whether it names a run folder, or a checkpoint of the run there.
    package func isFrom(_ folder: String) -> Bool { runFolder.map { isSamePlace($0, folder) } ?? false }

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
        case .since(let path, let run):
            let folder = CheckpointFolder(path: "\(runFolder)/\(CheckpointFolder.name)")
            let own = try folder.steps().map(folder.checkpoint).filter { checkpoint in
                (try? CheckpointManifest(contentsOf: "\(checkpoint)/\(CheckpointManifest.fileName)"))?.run == run
            }
            do {
                return own + (try Self.from(path).checkpoints(runFolder: runFolder))
            } catch {
                // It goes where `checkpoint.keep` newer ones are there.
                guard !own.isEmpty else { throw error }
                return own
            }
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
