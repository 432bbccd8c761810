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

    /// As in the environment of those that are told.
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

    /// Whether the process has ended; false where it is another machine's, which cannot be told from here.
    package var hasEnded: Bool { machine == Self.currentMachine && Self.startTime(of: process) != start }

    /// Kills the launcher of this rank (mpirun, or its daemon on another machine), which should have ended before the rank
    /// does; any other parent is left alone.
    static func killLauncher() {
        let parent = getppid()
        let name = String(decoding: contents(of: "/proc/\(parent)/comm").dropLast(), as: UTF8.self)
        if ["mpirun", "orterun", "orted", "prterun", "prted"].contains(name) { kill(parent, SIGKILL) }
    }

    /// Names the kernel and the process numbers' namespace: what a number means only within.
    static let currentMachine: String = {
        let boot = contents(of: "/proc/sys/kernel/random/boot_id")
        var link = [CChar](repeating: 0, count: 64)
        let length = readlink("/proc/self/ns/pid", &link, link.count)
        let bytes = boot.filter { $0 > 0x20 } + link.prefix(max(0, length)).map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }()

    /// nil where there is no such process, or only what its parent has not yet taken note of.
    private static func startTime(of process: pid_t) -> String? {
        // After the name in parentheses, which may hold anything, come the state and 18 numbers.
        let text = String(decoding: contents(of: "/proc/\(process)/stat"), as: UTF8.self)
        let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
        return String(fields[19])
    }

    /// Of a file of the kernel's, which has no size.
    private static func contents(of path: String) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return [] }
        defer { close(file) }
        var buffer = [UInt8](repeating: 0, count: 1024)
        return Array(buffer[..<max(0, read(file, &buffer, buffer.count))])
    }
}
