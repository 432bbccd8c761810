import Foundation
import TestSupport
import Testing

@testable import Collectives

/// Against made-up trees of /sys/fs/cgroup.
@Suite struct ControlGroupTests {
    private let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func groups(_ membership: String, _ files: [String: String]) throws -> ControlGroups {
        for (name, text) in files {
            let path = URL(filePath: folder.file(name))
            try FileManager.default.createDirectory(at: path.deletingLastPathComponent(), withIntermediateDirectories: true)
            try (text + "\n").write(to: path, atomically: false, encoding: .utf8)
        }
        return ControlGroups(root: folder.path, membership: membership)
    }

    @Test func `version 2 - the least quota from the group up to the root holds`() throws {
        let files = [
            "a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000", "cpu.max": "400000 100000",
            "a/b/c/cpu.max": "800000 200000",
        ]
        #expect(try groups("0::/a/b/c", files).coreQuota == 1.5)
    }

    @Test(arguments: ["cpu", "cpu,cpuacct", "cpuacct,cpu"]) func `version 1 - quota over period, whatever shares the hierarchy`(
        _ controllers: String
    ) throws {
        for mount in Set(["cpu", controllers]) {
            let files = [
                "\(mount)/job/cpu.cfs_quota_us": "50000", "\(mount)/job/cpu.cfs_period_us": "100000",
                "\(mount)/cpu.cfs_quota_us": "-1",
            ]
            let found = try groups("3:cpuset:/x\n1:\(controllers):/job", files).coreQuota
            #expect(found == 0.5, "\(mount)")
            try FileManager.default.removeItem(atPath: folder.file(mount))
        }
    }

    @Test func `in a container, where the group's own path does not exist, the root's quota holds`() throws {
        #expect(try groups("0::/kubepods/pod1", ["cpu.max": "200000 100000"]).coreQuota == 2)
        #expect(try groups("0::/x", ["unified/x/cpu.max": "300000 100000"]).coreQuota == 2)
    }

    @Test(arguments: ["max 100000", "", "0 100000", "x y", "100000", "-1 100000", "100000 0"])
    func `what is no quota is none`(_ text: String) throws {
        #expect(try groups("0::/", ["cpu.max": text]).coreQuota == nil)
        #expect(try groups("garbage", [:]).coreQuota == nil)
    }

    @Test func `threads are the quota rounded down, one at least, and never more than the cores`() {
        let cores = MPIEnvironment.availableCores(quota: nil)
        #expect(MPIEnvironment.availableCores(quota: 0.3) == 1)
        #expect(MPIEnvironment.availableCores(quota: 1.9) == 1)
        #expect(MPIEnvironment.availableCores(quota: 1e9) == cores)
    }
}
