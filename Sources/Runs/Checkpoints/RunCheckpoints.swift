package import Collectives
internal import Configuration
internal import Models
internal import Parallelism
internal import Support
internal import Synchronization

/// Saves a run between two steps and finds the checkpoints of earlier attempts.
///
/// A checkpoint needs every rank: ranks that have the same state divide it, each writes its share, all agree that they have
/// done so, and only then rank 0 writes the manifest. What a rank leaves behind that dies in between is never taken for a
/// checkpoint.
///
/// **Files are written while the next steps are taken.** ``save(_:after:_:)`` copies the state and starts writing. The result
/// is checked after each step (``poll()``) and at the end (``finish()``). An error of any rank is then thrown by all.
package final class RunCheckpoints<World: Communicator> {
    /// The checkpoint from which the run resumes.
    package struct Saved {
        package let path: String
        package let manifest: CheckpointManifest
    }

    /// The time that saving has cost the run, on this rank.
    package struct Cost {
        package fileprivate(set) var count = 0
        /// Seconds by which following steps were delayed.
        package fileprivate(set) var stallSeconds = 0.0
        /// Seconds after the last step.
        package fileprivate(set) var finalSeconds = 0.0
    }

    /// A checkpoint that is being written.
    private enum Pending {
        /// Ranks write their shares.
        case writing(Int, StepRecord, BackgroundWork<CheckpointManifest.File>)
        /// All have written theirs, and rank 0 completes the checkpoint; nil on other ranks.
        case committing(Int, BackgroundWork<Bool>?)
    }

    private let folder: CheckpointFolder
    private let run: String
    private let settings: CheckpointSettings
    private let groups: ParallelGroups<World>
    private var world: World { groups.world }
    /// Computed when it is first needed, only on rank 0, since the model's digest reads all weights.
    private let identity: Lazy<CheckpointManifest.Identity>
    private let acceptsOtherData: Bool
    private let acceptsRelayout: Bool
    private var pending: Pending?
    /// Whether incomplete files of earlier attempts have been removed.
    private var isSwept = false
    package private(set) var cost = Cost()
    /// nil for a run from the beginning.
    package private(set) var resumed: Saved?
    /// What steps before this attempt were taken with and its own are not, on rank 0; see ``CheckpointManifest/earlier``.
    package private(set) var earlier: [String] = []

    /// Looks for the newest checkpoint that can be read; damaged ones are reported and skipped. Collective.
    ///
    /// - Throws: ``CheckpointError`` where a checkpoint belongs to another run, where all are damaged, or where there is none
    ///   at the place that the user named.
    package init(
        _ context: JobContext<World>, job: String, modelDigest: @escaping @Sendable () throws -> String, dataDigest: String,
        evaluationDigest: String
    ) throws {
        let (config, world) = (context.config, context.communicator)
        groups = context.groups
        settings = config.checkpoint
        (acceptsOtherData, acceptsRelayout) = (context.acceptsOtherData, context.acceptsRelayout)
        folder = CheckpointFolder(path: context.folder.file(CheckpointFolder.name))
        run = context.folder.run
        let size = world.size
        let identifying = config.identifyingSettings(of: job).merging(
            CheckpointManifest.Identity.setting(of: context.groups.dims)
        ) { $1 }
        identity = Lazy {
            .init(
                job: job, worldSize: size, model: try modelDigest(), data: dataDigest, evaluation: evaluationDigest,
                settings: identifying)
        }
        let paths = try world.fromRoot {
            try context.resume.checkpoints(runFolder: context.folder.path).joined(separator: "\0")
        }
        resumed = try newest(of: paths.split(separator: "\0").map(String.init)) { context.reporter.note($0) }
    }

    // MARK: Resuming

    /// The state in the checkpoint from which the run resumes; this rank reads only the parts that it asks for. nil for a run
    /// from the beginning.
    package func restoredState() -> TrainingState? {
        guard let resumed else { return nil }
        let (identity, dims) = (resumed.manifest.identity, groups.dims)
        let isOfOtherLayout = identity.worldSize != world.size || identity.layout.map { $0 != dims } ?? false
        // In the same layout, a rank's own file has most of what it needs, and the files of the other ranks of its stage the
        // rest.
        func distance(_ rank: Int) -> Int {
            guard !isOfOtherLayout else { return 0 }
            return rank == world.rank ? 0 : dims.stage(of: rank) == groups.stage ? 1 : 2
        }
        let ranks = (0..<identity.worldSize).sorted { (distance($0), $0) < (distance($1), $1) }
        return TrainingState(
            SavedFiles(
                ranks.map { "\(resumed.path)/\(CheckpointFolder.stateFile(rank: $0))" }, isOfOtherLayout: isOfOtherLayout))
    }

    /// The first checkpoint that is whole, after every rank has checked its share of the files. Collective.
    private func newest(of candidates: [String], warn: (String) -> Void) throws -> Saved? {
        var first: AgreedError?
        for path in candidates {
            let manifest: CheckpointManifest
            do {
                manifest = try world.agree { try CheckpointFolder.verified(path, rank: world.rank, of: world.size) }
            } catch let problem as AgreedError where problem.exitCode != .configuration {
                // Only damage counts here, not a version that this program does not know.
                first = first ?? problem
                if path != candidates.last { warn("warning: \(problem); an older checkpoint is tried") }
                continue
            }
            try world.agree { if world.isRoot { try check(manifest, path, insteadOf: first) } }
            let notes = try world.fromRoot {
                earlier = try manifest.earlier + manifest.identity.changes(to: identity.value(), after: manifest.step)
                return try changes(since: manifest, path).joined(separator: "\n")
            }
            for note in notes.split(separator: "\n") { warn(String(note)) }
            return Saved(path: path, manifest: manifest)
        }
        guard let first, let place = candidates.first.map(parentDirectory(of:)) else { return nil }
        let isOwn = isSamePlace(place, folder.path)
        throw AgreedError(CheckpointError.allDamaged(place, first.description, isOwn: isOwn))
    }

    /// - Parameter damaged: what is wrong with the newest checkpoint, where this is an older one.
    private func check(_ manifest: CheckpointManifest, _ path: String, insteadOf damaged: AgreedError?) throws {
        let difference = try manifest.identity.difference(
            from: identity.value(), after: manifest.step, acceptsOtherData: acceptsOtherData, acceptsRelayout: acceptsRelayout)
        guard let difference else { return }
        // More steps are accepted of a finished run's last checkpoint alone.
        if let damaged, difference.hasPrefix("\(RunConfig.stepsKey) ") {
            throw CheckpointError.onlyOlder(path, difference, damaged: damaged.description)
        }
        throw CheckpointError.differs(path, difference)
    }

    /// The differences that were accepted.
    private func changes(since manifest: CheckpointManifest, _ path: String) throws -> [String] {
        let (before, now) = (manifest.identity, try identity.value())
        var lines: [String] = []
        if acceptsOtherData, before.data != now.data {
            lines.append(
                "warning: the training data has changed since \(path); the run resumes with other data, as --allow-other-data "
                    + "says"
            )
        }
        if acceptsRelayout, before.worldSize != now.worldSize || before.layout != now.layout {
            lines.append(
                "note: \(path) was made by \(before.arrangement) and resumes on \(now.arrangement), as --allow-relayout says; "
                    + "numbers agree with those of the first layout to rounding")
        }
        return lines
    }

    // MARK: Saving

    /// Whether a checkpoint is due after this many of all steps.
    package func isDue(after taken: Int, of steps: Int) -> Bool {
        settings.every > 0 && (taken % settings.every == 0 || taken == steps)
    }

    /// Begins to save every rank's state after `step` steps, once the previous checkpoint is complete. Collective.
    ///
    /// - Throws: where the previous one's files could not be written. Earlier checkpoints are unchanged.
    package func save(_ state: TrainingState, after step: Int, _ record: StepRecord) throws {
        try timed(\.stallSeconds) {
            while pending != nil { try advance() }
            if !isSwept {
                try cleaning(step) { try world.agree { if world.isRoot { try folder.begin(step) } } }
                isSwept = true
            }
            let group = state.sharing == .world ? world : groups.replicas
            let (share, checkpoints) = (state.share(of: group.rank, among: group.size), folder)
            let file = "\(folder.temporary(step))/\(CheckpointFolder.stateFile(rank: world.rank))"
            pending = .writing(
                step, record,
                BackgroundWork {
                    try checkpoints.join(step)
                    return try share.write(to: file)
                })
            cost.count += 1
        }
    }

    /// Checks after a step whether the files of a checkpoint have been written. Collective.
    ///
    /// - Throws: where they could not be written, on any rank.
    package func poll() throws {
        guard let pending else { return }
        try timed(\.stallSeconds) {
            let isDone =
                switch pending {
                case .writing(_, _, let work): work.isDone
                case .committing(_, let work): work?.isDone ?? true
                }
            if try world.allReduce(Int64(isDone ? 1 : 0), .min) == 1 { try advance() }
        }
    }

    /// Waits for the checkpoint that is being written. Collective.
    package func finish() throws { try timed(\.finalSeconds) { while pending != nil { try advance() } } }

    /// Advances a checkpoint to its next stage, and waits for that if necessary. Collective.
    private func advance() throws {
        switch pending {
        case .writing(let step, let record, let work):
            pending = nil
            let entry = try cleaning(step) { try world.agree { try work.wait() } }
            let entries = try world.allGather(Array("\(entry.bytes) \(entry.sha256)".utf8))
            pending = .committing(step, world.isRoot ? commit(step, record, entries) : nil)
        case .committing(let step, let work):
            pending = nil
            try cleaning(step) { try world.agree { _ = try work?.wait() } }
        case nil: break
        }
    }

    /// - Parameter entries: size and digest of every rank's file.
    private func commit(_ step: Int, _ record: StepRecord, _ entries: [[UInt8]]) -> BackgroundWork<Bool> {
        let (folder, identity, run, earlier, keep) = (self.folder, self.identity, self.run, self.earlier, settings.keep)
        return BackgroundWork {
            var files: [String: CheckpointManifest.File] = [:]
            for (rank, text) in entries.enumerated() {
                let parts = String(decoding: text, as: UTF8.self).split(separator: " ")
                files[CheckpointFolder.stateFile(rank: rank)] = .init(bytes: Int(parts[0]) ?? 0, sha256: String(parts[1]))
            }
            try RunFolder.synchronizeMetrics(parentDirectory(of: folder.path))
            try folder.commit(
                CheckpointManifest(
                    identity: identity.value(), step: step, run: run, files: files, record: record, earlier: earlier),
                keep: keep)
            return true
        }
    }

    /// Does work of all ranks on a checkpoint. If it fails, no rank writes any more, and the partial files are removed, since
    /// they may take the space that is missing. The original error is thrown, whether or not the removal succeeds.
    private func cleaning<Result>(_ step: Int, _ work: () throws -> Result) throws -> Result {
        do {
            return try work()
        } catch {
            if world.isRoot { try? folder.discard(step) }
            throw error
        }
    }

    private func timed(_ place: WritableKeyPath<Cost, Double>, _ work: () throws -> Void) rethrows {
        let start = ContinuousClock.now
        defer { cost[keyPath: place] += (.now - start) / .seconds(1) }
        try work()
    }
}

/// A value that is computed when it is first asked for, on any thread.
private final class Lazy<Value: Sendable>: Sendable {
    private let make: @Sendable () throws -> Value
    private let made = Mutex<Value?>(nil)

    init(_ make: @escaping @Sendable () throws -> Value) { self.make = make }

    func value() throws -> Value {
        if let value = made.withLock({ $0 }) { return value }
        let value = try make()
        made.withLock { $0 = value }
        return value
    }
}
