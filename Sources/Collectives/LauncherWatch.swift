package import Glibc
internal import Support

/// Sees from outside that a launcher (mpirun) waits for nothing any more: the run is over, and it stays; or it is started
/// again, and starts nothing.
///
/// So it does where it has lost a host whose daemon it waits for. TCP gives such a host up after a quarter of an hour, or
/// never. Pure: what is seen, and how long after the last look, is passed in.
package struct LauncherWatch {
    /// The time that it has to end after its ranks: ten times what it takes with a hundred of them.
    package static let exitTimeout = Duration.seconds(15)
    /// The least time that it has to start ranks on this machine, where it could before; it has four times what it took then.
    package static let startTimeout = Duration.seconds(300)

    /// Why the launcher is to be ended.
    package enum Verdict: Equatable, Sendable {
        /// Its run has been over for ``LauncherWatch/exitTimeout``.
        case outlivesRun
        /// No rank has come for so long.
        case startsNothing(Duration)
    }

    private var hasHadRanks = false
    private var folder = Folder.unknown
    private var idle = Duration.zero
    /// How long it has run without a rank having been seen.
    private var starting = Duration.zero
    /// nil for no limit: the first time nothing is known of how long ranks take to start, nor whether they come here at all.
    private let startLimit: Duration?

    /// The run's folder, as far as its lock tells. An earlier attempt may hold it still as this one begins.
    private enum Folder { case unknown, free, held }

    /// - Parameter earlier: the watch of the attempt before this one.
    package init(after earlier: LauncherWatch? = nil) {
        startLimit = earlier.flatMap { $0.hasHadRanks ? max(Self.startTimeout, $0.starting * 4) : $0.startLimit }
    }

    /// Notes what is seen, at the start and then every second or so.
    ///
    /// - Parameters:
    ///   - hasRanks: whether any rank is on this machine.
    ///   - folderIsHeld: whether rank 0 has the run's folder; looked at where no rank has been on this machine.
    ///   - elapsed: since the last look. A long time counts as a second: both may not have run meanwhile.
    /// - Returns: why the launcher is to be given up; nil where it is not. Ranks that have not been seen yet are waited for.
    package mutating func note(hasRanks: Bool, folderIsHeld: @autoclosure () -> Bool, elapsed: Duration) -> Verdict? {
        let elapsed = min(elapsed, .seconds(1))
        hasHadRanks = hasHadRanks || hasRanks
        let isOver: Bool
        if hasHadRanks {
            isOver = !hasRanks
        } else {
            starting += elapsed
            let isHeld = folderIsHeld()
            isOver = folder == .held && !isHeld
            if !isHeld, folder == .unknown { folder = .free }
            if isHeld, folder == .free { folder = .held }
        }
        idle = isOver ? idle + elapsed : .zero
        if idle >= Self.exitTimeout { return .outlivesRun }
        guard !hasHadRanks, folder != .held, let startLimit, starting >= startLimit else { return nil }
        return .startsNothing(startLimit)
    }
}

/// Processes that a process has started, as /proc tells.
package enum ChildProcesses {
    /// The children of all its threads; empty where it has ended.
    package static func of(_ process: pid_t) -> [pid_t] {
        let tasks = "/proc/\(process)/task"
        return ((try? entries(ofFolder: tasks)) ?? []).flatMap { thread in
            KernelFile.text("\(tasks)/\(thread)/children").split(separator: " ").compactMap { pid_t($0) }
        }
    }

    /// Whether a process runs the same program as this one; false where it has ended.
    package static func runsThisProgram(_ process: pid_t) -> Bool {
        guard let own = FileIdentity("/proc/self/exe") else { return false }
        return own == FileIdentity("/proc/\(process)/exe")
    }
}
