import Support
import Testing

@testable import TransitionBus

@Suite struct KeyFileTests {
    @Test func `a key file comes back with its peers`() throws {
        let (keys, peer) = (try CurveKeys.generate(), try CurveKeys.generate().publicKey)
        let file = try KeyFile(KeyFile.text(keys) + "\n  # a friend\r\npeer\t\(peer)\r\n", name: "a.key")
        #expect(file.keys.publicKey == keys.publicKey && file.keys.secretKey == keys.secretKey)
        #expect(file.peers == [peer])
    }

    @Test(arguments: [
        "", "public", "public short", "secret \(String(repeating: "0", count: 40))", "key \(String(repeating: "0", count: 40))",
        "peer \(String(repeating: "~", count: 40))", "peer \(String(repeating: "0", count: 40)) more",
    ])
    func `what is no key file is refused by name`(_ text: String) {
        #expect { try KeyFile(text, name: "a.key") } throws: {
            ($0 as? BusError)?.exitCode == .configuration && "\($0)".contains("a.key")
        }
    }

    @Test func `a pair is given once`() throws {
        let text = KeyFile.text(try .generate())
        #expect(throws: BusError.self) { try KeyFile(text + text, name: "a.key") }
    }
}
