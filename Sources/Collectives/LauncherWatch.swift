package import Glibc
internal import Support

/// Sees from outside that a launcher (mpirun) waits for nothing any more: the run is over, and it stays.
///
/// So it does where it has lost a host whose daemon it waits for. TCP gives such a host up after a quarter of an hour, or never.
/// Pure: what is seen, and how long after the last look, is passed in.
package struct LauncherWatch {
    /// That it has to end after its ranks: ten times what it takes with a hundred of them.
    package static let patience = Duration.seconds(15)

    private var hasHadRanks = false
    private var folder = Folder.unknown
    private var idle = Duration.zero

    /// Of the run, as far as its lock tells. An earlier attempt may hold it still as this one begins.
    private enum Folder { case unknown, free, held }

    package init() {}

    /// Notes what is seen, every second or so.
    ///
    /// - Parameters:
    ///   - hasRanks: whether any rank is on this machine.
    ///   - folderIsHeld: whether rank 0 has the run's folder; looked at where no rank has been on this machine.
    ///   - elapsed: since the last look. A long time counts as a second: both may not have run meanwhile.
    /// - Returns: whether the run has been over for ``patience``. One whose ranks have not been seen yet is not.
    package mutating func note(hasRanks: Bool, folderIsHeld: @autoclosure () -> Bool, elapsed: Duration) -> Bool {
        hasHadRanks = hasHadRanks || hasRanks
        let isOver: Bool
        if hasHadRanks {
            isOver = !hasRanks
        } else {
            let isHeld = folderIsHeld()
            isOver = folder == .held && !isHeld
            if !isHeld, folder == .unknown { folder = .free }
            if isHeld, folder == .free { folder = .held }
        }
        idle = isOver ? idle + min(elapsed, .seconds(1)) : .zero
        return idle >= Self.patience
    }
}

/// Processes that a process has started, as /proc tells.
package enum ChildProcesses {
    /// Of all its threads; empty where it has ended.
    package static func of(_ process: pid_t) -> [pid_t] {
        let tasks = "/proc/\(process)/task"
        return ((try? entries(ofFolder: tasks)) ?? []).flatMap { thread in
            ControlGroups.text("\(tasks)/\(thread)/children").split(separator: " ").compactMap { pid_t($0) }
        }
    }

    /// Whether a process runs the same program as this one; false where it has ended.
    package static func runsThisProgram(_ process: pid_t) -> Bool {
        var (own, other) = (stat(), stat())
        return stat("/proc/self/exe", &own) == 0 && stat("/proc/\(process)/exe", &other) == 0
            && own.st_dev == other.st_dev && own.st_ino == other.st_ino
    }
}
