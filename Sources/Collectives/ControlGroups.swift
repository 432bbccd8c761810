/// The control groups this process is in, as far as they limit what it may take of the machine; both versions of the interface.
package struct ControlGroups {
    /// Where the hierarchies are mounted.
    private let root: String
    /// Lines of /proc/self/cgroup: number, controllers (version 2 names none) and path of each group.
    private let membership: String

    /// Reads the limits that this process is under.
    ///
    /// - Parameters:
    ///   - root: where the control groups are mounted.
    ///   - membership: the text of `/proc/self/cgroup`.
    package init(root: String = "/sys/fs/cgroup", membership: String = KernelFile.text("/proc/self/cgroup")) {
        (self.root, self.membership) = (root, membership)
    }

    /// A folder of a group that the process is in, or of one above it.
    package struct Folder {
        package let path: String
        package let isVersion2: Bool

        /// The content of a file of the group; empty where there is none.
        package func text(_ name: String) -> String { KernelFile.text("\(path)/\(name)") }
    }

    /// The folders of a controller's groups, and of those above them up to the root: a limit of any of them holds.
    package func folders(_ controller: String) -> [Folder] {
        membership.split(separator: "\n").flatMap { line -> [Folder] in
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 3 else { return [] }
            let isVersion2 = parts[1].isEmpty
            guard isVersion2 || parts[1].split(separator: ",").contains(Substring(controller)) else { return [] }
            // Version 2 has one hierarchy, which stands in a folder of its own beside those of version 1. Controllers of
            // version 1 that share a hierarchy have links of their own to it, or not.
            let mounts = isVersion2 ? [root, "\(root)/unified"] : ["\(root)/\(controller)", "\(root)/\(parts[1])"]
            return Set(mounts).sorted().flatMap { mount in
                Self.ancestors(of: parts[2]).map { Folder(path: mount + $0, isVersion2: isVersion2) }
            }
        }
    }

    /// Cores' worth of time that the groups allow: the least of their quotas over their periods. Nil where none has a quota.
    package var coreQuota: Double? {
        folders("cpu").compactMap { folder in
            // Version 2 has both numbers in one file; `max`, and -1 in version 1, is no limit.
            let limit =
                folder.isVersion2
                ? folder.text("cpu.max").split(separator: " ").map(String.init)
                : [folder.text("cpu.cfs_quota_us"), folder.text("cpu.cfs_period_us")]
            guard limit.count == 2, let quota = Double(limit[0]), let period = Double(limit[1]), quota > 0, period > 0 else {
                return nil
            }
            return quota / period
        }.min()
    }

    /// A group's path and those above it, down to the root, which is empty. In a container the group's own path often does not
    /// exist, and the root is the container's.
    package static func ancestors(of path: String) -> [String] {
        let names = path.split(separator: "/")
        return (0...names.count).map { names.prefix($0).reduce("") { "\($0)/\($1)" } }
    }
}
