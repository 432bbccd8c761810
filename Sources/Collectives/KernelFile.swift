internal import Glibc

/// Files and links below `/proc` and `/sys`, which have no size of their own.
package enum KernelFile {
    /// Number of this boot of the machine, the same for all of its processes and containers; empty where `/proc` is not
    /// mounted.
    package static var bootIdentity: String { text("/proc/sys/kernel/random/boot_id") }

    /// The first 64 KiB of a file, without the line breaks at its end; empty where it cannot be read.
    package static func text(_ path: String) -> String {
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

    /// This process's namespace of a kind, such as `net` or `pid`: processes in other containers may have another; empty where
    /// `/proc` is not mounted.
    package static func namespace(_ kind: String) -> String {
        var link = [CChar](repeating: 0, count: 64)
        let length = readlink("/proc/self/ns/\(kind)", &link, link.count)
        return String(decoding: link.prefix(max(0, length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// The name of this machine; empty where it has none.
package func hostName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
