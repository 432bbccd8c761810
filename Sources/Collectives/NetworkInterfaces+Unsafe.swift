internal import Glibc

/// An IPv4 address of this machine, with the interface it belongs to.
package struct NetworkAddress: Equatable, Sendable {
    package let interface: String
    /// As numbers and dots.
    package let text: String
    /// Address and mask, the first byte highest.
    package let address: UInt32
    package let mask: UInt32
    package let isLoopback: Bool

    package init(interface: String, text: String, address: UInt32, mask: UInt32, isLoopback: Bool = false) {
        (self.interface, self.text, self.address, self.mask, self.isLoopback) = (interface, text, address, mask, isLoopback)
    }

    /// Whether the interface leads to containers and virtual machines of this machine only: what Docker, Podman, Kubernetes'
    /// plug-ins, libvirt and others call theirs.
    package var isVirtual: Bool {
        // Docker's networks; of other programs such a name may be a bridge that leads outward (OVN's br-ex).
        let number = interface.dropFirst("br-".count)
        if interface.hasPrefix("br-"), number.count == 12, number.allSatisfy(\.isHexDigit) { return true }
        return [
            "docker", "veth", "virbr", "vnet", "vmnet", "vboxnet", "lxc", "lxd", "cni", "flannel", "cali", "cilium",
            "podman", "kube", "tunl",
        ]
        .contains { interface.hasPrefix($0) }
    }

    /// Whether an address is in the network this one is in.
    package func isNeighbor(of other: UInt32) -> Bool { mask != 0 && address & mask == other & mask }
}

/// The IPv4 interfaces of this machine.
package enum NetworkInterfaces {
    /// The addresses of interfaces that are up.
    package static func addresses() -> [NetworkAddress] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return [] }
        defer { freeifaddrs(list) }
        var found: [NetworkAddress] = []
        var entry = list
        while let current = entry?.pointee {
            entry = current.ifa_next
            let flags = Int32(bitPattern: current.ifa_flags)
            guard flags & Int32(IFF_UP) != 0, let own = number(current.ifa_addr) else { continue }
            found.append(
                NetworkAddress(
                    interface: String(cString: current.ifa_name), text: text(own), address: own,
                    mask: number(current.ifa_netmask) ?? 0,
                    isLoopback: flags & Int32(IFF_LOOPBACK) != 0))
        }
        return found
    }

    /// Those that may reach other machines.
    package static func outward() -> [NetworkAddress] { addresses().filter { !$0.isLoopback && !$0.isVirtual } }

    /// The interfaces that Open MPI is to leave alone: it takes bridges of containers for ways to other nodes, since they have
    /// the same network on all. A list of ours stands in place of its own, in which the loopback is; without a way outward
    /// that is all that ranks have to reach each other. None where there are no bridges.
    package static func excluded(among addresses: [NetworkAddress]) -> [String] {
        let bridges = Set(addresses.filter(\.isVirtual).map(\.interface)).sorted()
        let leadsOutward = addresses.contains { !$0.isLoopback && !$0.isVirtual }
        return bridges.isEmpty ? [] : (leadsOutward ? ["lo"] : []) + bridges
    }

    /// The own address that messages to another one would leave from, as the system's routes say; nil where none leads there.
    /// Nothing is sent.
    package static func source(towards address: UInt32) -> UInt32? {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // Any port will do.
        guard withSocketAddress(address, port: 9, { connect(descriptor, $0, $1) }) == 0 else { return nil }
        return boundAddress(descriptor)?.address
    }

    /// Dotted decimal, such as 10.0.0.1, of an address in host order.
    package static func text(_ address: UInt32) -> String {
        (0..<4).map { String(address >> (24 - 8 * $0) & 0xFF) }.joined(separator: ".")
    }

    /// Numbers and dots; nil where it is something else.
    package static func parse(_ text: some StringProtocol) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        guard parts.count == 4, parts.allSatisfy({ $0 != nil }) else { return nil }
        return parts.reduce(0) { $0 << 8 | UInt32($1 ?? 0) }
    }

    private static func number(_ address: UnsafeMutablePointer<sockaddr>?) -> UInt32? {
        guard let address, Int32(address.pointee.sa_family) == AF_INET else { return nil }
        return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { UInt32(bigEndian: $0.pointee.sin_addr.s_addr) }
    }

    static func withSocketAddress<Result>(
        _ address: UInt32, port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var value = sockaddr_in()
        value.sin_family = sa_family_t(AF_INET)
        value.sin_addr.s_addr = address.bigEndian
        value.sin_port = port.bigEndian
        return withUnsafePointer(to: &value) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }

    /// Where a socket is bound.
    static func boundAddress(_ descriptor: Int32) -> (address: UInt32, port: UInt16)? {
        var value = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &value) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        return code == 0 ? (UInt32(bigEndian: value.sin_addr.s_addr), UInt16(bigEndian: value.sin_port)) : nil
    }
}
