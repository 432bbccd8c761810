import Foundation
import Testing

@testable import Collectives

@Suite struct ProcessIdentityTests {
    @Test func `a process is known by its text, and has ended once it has, before anybody takes note of it too`() throws {
        #expect(ProcessIdentity(text: ProcessIdentity.own.text) == .own && !ProcessIdentity.own.hasEnded)
        let other = Process()
        other.executableURL = URL(fileURLWithPath: "/bin/sleep")
        other.arguments = ["60"]
        try other.run()
        let process = other.processIdentifier
        let stat = try String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
        let start = try #require(stat.split(separator: ")").last?.split(separator: " ")[19])
        let machine = try #require(ProcessIdentity.own.text.split(separator: " ").first)
        let identity = try #require(ProcessIdentity(text: "\(machine) \(process) \(start)"))
        #expect(!identity.hasEnded)
        // The same number again is another process.
        #expect(ProcessIdentity(text: "\(machine) \(process) 1")?.hasEnded == true)
        // Of another machine nothing is known.
        #expect(ProcessIdentity(text: "elsewhere \(process) 1")?.hasEnded == false)
        kill(process, SIGKILL)
        for _ in 0..<500 where !identity.hasEnded { usleep(10_000) }
        #expect(identity.hasEnded)
        other.waitUntilExit()
        #expect(ProcessIdentity(text: "nonsense") == nil && ProcessIdentity(text: "a b c") == nil)
    }
}
