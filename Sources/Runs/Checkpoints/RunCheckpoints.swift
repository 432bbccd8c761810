package import Collectives
internal import Configuration
internal import Models
internal import Parallelism
internal import Support

/// Saves a run between two steps and finds what an earlier attempt has saved.
///
/// A commit needs every rank: each writes its own state (the first replica also what all have in common), all agree that they
/// did, and only then rank 0 writes the manifest. What a rank that dies in between leaves behind is never taken for a
/// checkpoint.
package final class RunCheckpoints<World: Communicator> {
    /// Where the run goes on.
    package struct Saved {
        package let path: String
        package let manifest: CheckpointManifest
    }

    private let folder: CheckpointFolder
    private let settings: CheckpointSettings
    private let groups: ParallelGroups<World>
    private var world: World { groups.world }
    /// The model's digest is taken when it is first needed, and on rank 0 only: it reads all weights.
    private let identify: () throws -> CheckpointManifest.Identity
    private var identity: CheckpointManifest.Identity?
    private let acceptsOtherData: Bool
    /// nil from the beginning.
    package private(set) var resumed: Saved?

    /// Looks for the newest checkpoint that can be read; damaged ones are named and passed over. Collective.
    ///
    /// - Throws: ``CheckpointError`` where a checkpoint is of another run, where all are damaged, or where none is at the place
    ///   the
    ///   user named.
    package init(
        _ context: JobContext<World>, job: String, modelDigest: @escaping () throws -> String, dataDigest: String
    ) throws {
        let (config, world) = (context.config, context.communicator)
        groups = context.groups
        settings = config.checkpoint
        acceptsOtherData = context.acceptsOtherData
        folder = CheckpointFolder(path: context.folder.file(CheckpointFolder.name))
        let dims = context.groups.dims
        identify = {
            .init(
                job: job, worldSize: world.size, model: try modelDigest(), data: dataDigest,
                settings: config.identifyingSettings.merging(CheckpointManifest.Identity.setting(of: dims)) { $1 })
        }
        let paths = try world.fromRoot {
            try context.resume.checkpoints(runFolder: context.folder.path).joined(separator: "\0")
        }
        resumed = try newest(of: paths.split(separator: "\0").map(String.init)) { context.reporter.note($0) }
    }

    /// This rank's state in the checkpoint the run goes on from; nil from the beginning. Collective.
    package func restoredState() throws -> TrainingState? {
        guard let resumed else { return nil }
        func state(ofRank rank: Int) throws -> TrainingState {
            try TrainingState(contentsOf: "\(resumed.path)/\(CheckpointFolder.stateFile(rank: rank))")
        }
        return try world.agree {
            var own = try state(ofRank: world.rank)
            // The first replica's stages are the first ranks.
            if groups.replica > 0 { own.complete(from: try state(ofRank: groups.stage)) }
            return own
        }
    }

    private func currentIdentity() throws -> CheckpointManifest.Identity {
        let result = try identity ?? identify()
        identity = result
        return result
    }

    /// The first checkpoint that is whole, every rank having checked its share of the files. Collective.
    private func newest(of candidates: [String], warn: (String) -> Void) throws -> Saved? {
        var first: AgreedError?
        for path in candidates {
            let manifest: CheckpointManifest
            do {
                manifest = try world.agree { try CheckpointFolder.verified(path, rank: world.rank, of: world.size) }
            } catch let problem as AgreedError where problem.exitCode != .configuration {
                // Damaged, and not of a version that this program cannot know.
                first = first ?? problem
                if path != candidates.last { warn("warning: \(problem); an older checkpoint is tried") }
                continue
            }
            try world.agree {
                guard world.isRoot,
                    let difference = try manifest.identity.difference(
                        from: currentIdentity(), after: manifest.step, acceptsOtherData: acceptsOtherData)
                else { return }
                throw CheckpointError.differs(path, difference)
            }
            if acceptsOtherData,
                try world.fromRoot({ manifest.identity.data == (try currentIdentity().data) ? "" : "other" }) == "other"
            {
                warn(
                    "warning: the training data has changed since \(path); the run resumes with other data, as --allow-other-data says"
                )
            }
            return Saved(path: path, manifest: manifest)
        }
        if let first { throw AgreedError(CheckpointError.allDamaged(folder.path, first.description)) }
        return nil
    }

    /// Whether a checkpoint is due after this many of all steps.
    package func isDue(after taken: Int, of steps: Int) -> Bool {
        settings.every > 0 && (taken % settings.every == 0 || taken == steps)
    }

    /// Saves every rank's state after `step` steps. Collective.
    ///
    /// - Returns: the checkpoint.
    /// - Throws: where a file cannot be written; the checkpoints of before are as they were.
    package func save(_ state: TrainingState, after step: Int, _ record: StepRecord) throws -> String {
        do {
            try write(state, after: step, record)
        } catch {
            // What could be written takes the room that is missing; the error says what is wrong, whether or not this succeeds.
            if world.isRoot { try? folder.discard(step) }
            throw error
        }
        return folder.checkpoint(step)
    }

    private func write(_ state: TrainingState, after step: Int, _ record: StepRecord) throws {
        try world.agree {
            if world.isRoot { try folder.begin(step) }
        }
        let file = CheckpointFolder.stateFile(rank: world.rank)
        let path = "\(folder.temporary(step))/\(file)"
        let entry = try world.agree {
            try (groups.replica == 0 ? state : state.own).write(to: path)
            let written = try InputFile(path)
            return CheckpointManifest.File(bytes: written.size, sha256: try written.sha256())
        }
        let entries = try world.allGather(Array("\(entry.bytes) \(entry.sha256)".utf8))
        try world.agree {
            guard world.isRoot else { return }
            var files: [String: CheckpointManifest.File] = [:]
            for (rank, text) in entries.enumerated() {
                let parts = String(decoding: text, as: UTF8.self).split(separator: " ")
                files[CheckpointFolder.stateFile(rank: rank)] = .init(bytes: Int(parts[0]) ?? 0, sha256: String(parts[1]))
            }
            try folder.commit(
                CheckpointManifest(identity: currentIdentity(), step: step, files: files, record: record), keep: settings.keep)
        }
    }
}
