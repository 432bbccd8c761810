internal import Glibc

/// Memory that processes on this machine may still take.
package enum AvailableMemory {
    /// Bytes: the least of what the kernel believes it can give without swapping, and of what the control groups of this process
    /// leave. Where neither is known, no limit.
    package static var bytes: Int { (groupRooms + [systemBytes]).compactMap(\.self).min() ?? Int.max }

    /// `MemAvailable` of /proc/meminfo, which is in KiB.
    private static var systemBytes: Int? {
        for line in text("/proc/meminfo").split(separator: "\n") where line.hasPrefix("MemAvailable:") {
            return line.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 << 10 }
        }
        return nil
    }

    /// What is left below the limit of each control group this process is in, in both versions of the interface.
    private static var groupRooms: [Int?] {
        text("/proc/self/cgroup").split(separator: "\n").flatMap { line -> [Int?] in
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 3 else { return [] }
            if parts[1].isEmpty {
                return ancestors(of: parts[2]).map { room("/sys/fs/cgroup\($0)/memory.max", "/sys/fs/cgroup\($0)/memory.current") }
            }
            guard parts[1].split(separator: ",").contains("memory") else { return [] }
            return ancestors(of: parts[2]).map { path in
                let folder = "/sys/fs/cgroup/memory\(path)"
                return room("\(folder)/memory.limit_in_bytes", "\(folder)/memory.usage_in_bytes")
            }
        }
    }

    /// A group's path and those above it, down to the root, which is empty. In a container the group's own path often does not
    /// exist, and the root is the container's.
    static func ancestors(of path: String) -> [String] {
        let names = path.split(separator: "/")
        return (0...names.count).map { names.prefix($0).reduce("") { "\($0)/\($1)" } }
    }

    /// A limit that is not there, or not a number (`max`), is none. A limit beyond any machine's memory does no harm.
    private static func room(_ limitFile: String, _ usageFile: String) -> Int? {
        guard let limit = Int(text(limitFile)) else { return nil }
        return max(0, limit - (Int(text(usageFile)) ?? 0))
    }

    /// A file of the kernel's, whose size is not known beforehand; empty where there is none.
    private static func text(_ path: String) -> String {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return "" }
        defer { close(file) }
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = read(file, &buffer, buffer.count)
        guard count > 0 else { return "" }
        var text = String(decoding: buffer[..<count], as: UTF8.self)
        while text.last == "\n" { text.removeLast() }
        return text
    }
}
