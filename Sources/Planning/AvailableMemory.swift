internal import Collectives
internal import Glibc

/// Memory that processes on this machine may still take.
package enum AvailableMemory {
    /// Bytes: the smaller of the memory that the kernel expects to provide without swapping and the memory that this process's
    /// control groups leave. Where neither is known there is no limit.
    package static var bytes: Int { bytes(in: ControlGroups()) }

    /// Address space reserved for OpenBLAS's buffer of packed matrices and the stacks of threads that have not started yet, in
    /// bytes.
    private static let reserve = 160 << 20

    static func bytes(in groups: ControlGroups) -> Int {
        let rooms = groups.folders("memory").map { folder in
            (folder.isVersion2 ? GroupFiles.version2 : .version1).room(folder.path)
        }
        return (rooms + [systemBytes]).compactMap(\.self).min() ?? Int.max
    }

    /// Bytes that this process may still map (`ulimit -v`) or write to (`ulimit -d`), whatever the machine has; nil where there
    /// is no such limit.
    package static var processRoom: Int? {
        func room(_ limit: __rlimit_resource, _ used: Int) -> Int? {
            var value = rlimit()
            guard getrlimit(__rlimit_resource_t(limit.rawValue), &value) == 0, value.rlim_cur < rlim_t(Int64.max) else {
                return nil
            }
            return max(0, Int(clamping: value.rlim_cur) - used - reserve)
        }
        return [
            room(RLIMIT_AS, kibibytes("VmSize", "/proc/self/status")),
            room(RLIMIT_DATA, kibibytes("VmData", "/proc/self/status")),
        ]
        .compactMap(\.self).min()
    }

    /// `MemAvailable` of /proc/meminfo, which is in KiB.
    private static var systemBytes: Int? {
        let bytes = kibibytes("MemAvailable", "/proc/meminfo")
        return bytes > 0 ? bytes : nil
    }

    /// Bytes given by a line `name: 123 kB` of a kernel file; 0 where there is no such line.
    private static func kibibytes(_ name: String, _ path: String) -> Int {
        let line = KernelFile.text(path).split(separator: "\n").first { $0.hasPrefix("\(name):") }
        return line?.split(whereSeparator: { " \t".contains($0) }).dropFirst().first.flatMap { Int($0) }.map { $0 << 10 } ?? 0
    }
}

/// The files in which a control group states its memory limit and usage, in bytes.
struct GroupFiles {
    let limit: String
    let usage: String
    /// Entries of `memory.stat` for the page cache, such as a model that was read. They are a part of the usage that the kernel
    /// releases when memory is needed.
    let cache: Set<Substring>

    static let version1 = GroupFiles(
        limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", cache: ["total_active_file", "total_inactive_file"])
    static let version2 = GroupFiles(limit: "memory.max", usage: "memory.current", cache: ["active_file", "inactive_file"])

    /// Bytes that the group of a folder may still use. A limit that is missing or not a number (`max`) is no limit; one beyond
    /// any machine's memory does no harm.
    func room(_ folder: String) -> Int? {
        func text(_ name: String) -> String { KernelFile.text("\(folder)/\(name)") }
        guard let limit = Int(text(limit)) else { return nil }
        var used = Int(text(usage)) ?? 0
        for line in text("memory.stat").split(separator: "\n") {
            let parts = line.split(separator: " ")
            if parts.count == 2, cache.contains(parts[0]) { used -= Int(parts[1]) ?? 0 }
        }
        return max(0, limit - max(0, used))
    }
}
