import Foundation
import Support
import TestSupport
import Testing

@testable import Runs

/// One supervisor has a run's folder, between attempts too.
@Suite struct SupervisorLockTests {
    private let temporary: TemporaryFolder
    private var path: String { temporary.file("run") }
    private var file: String { "\(path)/launch.lock" }

    init() throws {
        temporary = try TemporaryFolder()
        try makeFolder(path)
    }

    @Test func `a second supervisor is refused while the first is there, and takes the folder after it`() throws {
        try AtomicFile.write("", to: "\(path)/run.lock")
        var first = try SupervisorLock(path, supervisor: "a")
        #expect(first != nil)
        let error = #expect(throws: FolderInUse.self) { _ = try SupervisorLock(path, supervisor: "b") }
        #expect(error?.exitCode == .configuration)
        withExtendedLifetime(first) {}
        first = nil
        #expect(PathKind(file) == .absent)
        #expect(try SupervisorLock(path, supervisor: "b") != nil)
    }

    @Test func `a run of another supervisor or of none is refused, and the supervisor's own is not`() throws {
        try AtomicFile.write("", to: "\(path)/run.lock")
        let lock = try SupervisorLock(path, supervisor: "a")
        for other in ["b", nil] {
            #expect(throws: FolderInUse.self) { _ = try FolderLock(path, supervisor: other) }
        }
        _ = try FolderLock(path, supervisor: "a")
        withExtendedLifetime(lock) {}
    }

    @Test func `nothing is left in a folder without a run, and what a dead supervisor left keeps nobody out`() throws {
        #expect(try SupervisorLock(path, supervisor: "a") == nil)
        #expect(try entries(ofFolder: path).isEmpty)
        try AtomicFile.write("a", to: file)
        try FolderLock(path, supervisor: nil).sign("a", path)
        #expect(try FolderContents(path).foreign.isEmpty)
        #expect(try SupervisorLock(path, supervisor: "b") != nil)
    }
}
