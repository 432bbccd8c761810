internal import Collectives
internal import Glibc

/// Where the sockets of a rank bind.
enum Endpoints {
    /// `sun_path` holds 108 bytes with the closing zero.
    private static let longestPath = 107

    /// What tells nodes apart: the name of the host, and its boot (containers may share names).
    static func nodeIdentity() -> [UInt8] {
        var name = [CChar](repeating: 0, count: 256)
        let known = gethostname(&name, name.count - 1) == 0
        let host = known ? name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) } : []
        var boot = [UInt8](repeating: 0, count: 64)
        let file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        if file >= 0 {
            _ = read(file, &boot, boot.count)
            close(file)
        }
        return host + boot
    }

    /// A fresh folder in `$TMPDIR` or `/tmp` that only this user may enter.
    static func makeFolder() throws(BusError) -> String {
        let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/sq-bus-XXXXXX".utf8CString)
        // The longest name in it is `/d` and a rank.
        guard template.count + 8 <= longestPath else {
            throw .socketFolder(
                path: parent, rule: "too long for a socket's path, 107 bytes at most: set TMPDIR to a shorter one")
        }
        guard mkdtemp(&template) != nil else {
            throw .socketFolder(path: parent, rule: "\(String(cString: strerror(errno))); set TMPDIR to a folder you may write")
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Removes the folder and the sockets' names in it; connections that exist go on.
    static func removeFolder(_ folder: String, ranks: Int) {
        for rank in 0..<ranks {
            unlink("\(folder)/d\(rank)")
            unlink("\(folder)/c\(rank)")
        }
        rmdir(folder)
    }

    /// The address to bind for tcp: as given, or loopback where all ranks share a node, or the node's only other interface.
    static func tcpAddress(_ interface: String?, isOneNode: Bool) throws(BusError) -> String {
        if let interface {
            guard !interface.isEmpty, interface != "*", interface != "0.0.0.0", !interface.contains(":") else {
                throw .unsuitable(setting: "bus.interface", rule: "`\(interface)` would listen everywhere: name one interface")
            }
            guard isLocal(interface) else {
                let found = interfaces().joined(separator: ", ")
                throw .unsuitable(
                    setting: "bus.interface",
                    rule: "`\(interface)` is no interface of this machine, and no IPv4 address of one (found: \(found.isEmpty ? "none" : found))")
            }
            return interface
        }
        if isOneNode { return "127.0.0.1" }
        let names = interfaces()
        guard names.count == 1, let only = names.first else {
            let found = names.isEmpty ? "none" : names.joined(separator: ", ")
            throw .unsuitable(
                setting: "bus.interface", rule: "name the interface that reaches the other nodes (found: \(found))")
        }
        return only
    }

    /// Names of the IPv4 interfaces that are up, without loopback.
    private static func interfaces() -> [String] { Set(addresses().filter { !$0.isLoopback }.map(\.name)).sorted() }

    /// Whether this is the name or an address of an IPv4 interface that is up.
    private static func isLocal(_ interface: String) -> Bool {
        addresses().contains { $0.name == interface || $0.address == interface }
    }

    /// The IPv4 addresses of interfaces that are up.
    private static func addresses() -> [(name: String, address: String, isLoopback: Bool)] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return [] }
        defer { freeifaddrs(list) }
        var found: [(String, String, Bool)] = []
        var entry = list
        while let current = entry {
            entry = current.pointee.ifa_next
            let flags = Int32(bitPattern: current.pointee.ifa_flags)
            guard flags & Int32(IFF_UP) != 0, let address = current.pointee.ifa_addr, Int32(address.pointee.sa_family) == AF_INET
            else { continue }
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let code = getnameinfo(
                address, socklen_t(MemoryLayout<sockaddr_in>.size), &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST)
            let numeric = code == 0 ? String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) : ""
            found.append((String(cString: current.pointee.ifa_name), numeric, flags & Int32(IFF_LOOPBACK) != 0))
        }
        return found
    }
}
