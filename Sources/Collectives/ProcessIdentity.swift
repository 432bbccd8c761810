internal import Glibc

/// A process by its number, its machine and when it began, so that another process that gets the same number later, or has it
/// elsewhere, is not taken for it.
package struct ProcessIdentity: Sendable, Equatable {
    private let machine: String
    private let process: pid_t
    /// Clock ticks since the machine's start.
    private let start: String

    /// This process.
    package static var own: ProcessIdentity {
        ProcessIdentity(machine: currentMachine, process: getpid(), start: startTime(of: getpid()) ?? "")
    }

    /// The form in environment variables.
    package var text: String { "\(machine) \(process) \(start)" }

    /// nil where the text is not of this form.
    package init?(text: String) {
        let parts = text.split(separator: " ")
        guard parts.count == 3, let process = pid_t(parts[1]) else { return nil }
        self.init(machine: String(parts[0]), process: process, start: String(parts[2]))
    }

    private init(machine: String, process: pid_t, start: String) {
        (self.machine, self.process, self.start) = (machine, process, start)
    }

    /// Whether the process has ended; false where it is on another machine, about which nothing is known here.
    package var hasEnded: Bool { machine == Self.currentMachine && Self.startTime(of: process) != start }

    /// Kills the launcher of this rank (mpirun, or its daemon on another machine), which should have ended before the rank
    /// does; any other parent is left alone.
    static func killLauncher() {
        let parent = getppid()
        let name = KernelFile.text("/proc/\(parent)/comm")
        if ["mpirun", "orterun", "orted", "prterun", "prted"].contains(name) { kill(parent, SIGKILL) }
    }

    /// Names the kernel and the process numbers' namespace: what a number means only within.
    static let currentMachine = KernelFile.bootIdentity + KernelFile.namespace("pid")

    /// nil where there is no such process, or only what its parent has not yet taken note of.
    private static func startTime(of process: pid_t) -> String? {
        // After the name in parentheses, which may hold anything, come the state and 18 numbers.
        let fields = KernelFile.text("/proc/\(process)/stat").split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return String(fields[19])
    }
}
