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
            let controllers = parts[1].split(separator: ",")
            guard controllers.isEmpty || controllers.contains("memory") else { return [] }
            let files = controllers.isEmpty ? GroupFiles.version2 : GroupFiles.version1
            return ancestors(of: parts[2]).map { files.room("\(files.root)\($0)") }
        }
    }

    /// A group's path and those above it, down to the root, which is empty. In a container the group's own path often does not
    /// exist, and the root is the container's.
    static func ancestors(of path: String) -> [String] {
        let names = path.split(separator: "/")
        return (0...names.count).map { names.prefix($0).reduce("") { "\($0)/\($1)" } }
    }

    /// A file of the kernel's, whose size is not known beforehand; empty where there is none.
    fileprivate static func text(_ path: String) -> String {
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

/// Where a control group says how much memory its processes may have and have, in bytes.
struct GroupFiles {
    let root: String
    let limit: String
    let usage: String
    /// Of usage: files that were read or written, such as a model, which the kernel lets go of when memory is asked for. In `memory.stat`.
    let cache: Set<Substring>

    static let version1 = GroupFiles(
        root: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes",
        cache: ["total_active_file", "total_inactive_file"])
    static let version2 = GroupFiles(
        root: "/sys/fs/cgroup", limit: "memory.max", usage: "memory.current", cache: ["active_file", "inactive_file"])

    /// Bytes left in a group's folder. A limit that is not there, or not a number (`max`), is none; one beyond any machine's memory does
    /// no harm.
    func room(_ folder: String) -> Int? {
        func text(_ name: String) -> String { AvailableMemory.text("\(folder)/\(name)") }
        guard let limit = Int(text(limit)) else { return nil }
        var used = Int(text(usage)) ?? 0
        for line in text("memory.stat").split(separator: "\n") {
            let parts = line.split(separator: " ")
            if parts.count == 2, cache.contains(parts[0]) { used -= Int(parts[1]) ?? 0 }
        }
        return max(0, limit - max(0, used))
    }
}
