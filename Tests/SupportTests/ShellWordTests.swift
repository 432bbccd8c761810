import Foundation
import Testing

@testable import Support

@Suite struct ShellWordTests {
    /// With the accent that follows it a quote is another character, and not another scalar.
    @Test(arguments: ["", "a/b=c", "a b", "it's", "'", "''", "'\u{301}", "a'\u{301}'b", "$(x) `y` \\ \"z\"\n*"])
    func `a shell reads the text as one word`(_ text: String) throws {
        let (shell, output) = (Process(), Pipe())
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.arguments = ["-c", "printf '%s|' \(text.shellWord)"]
        shell.standardOutput = output
        try shell.run()
        let bytes = output.fileHandleForReading.readDataToEndOfFile()
        shell.waitUntilExit()
        #expect(Array(bytes) == Array((text + "|").utf8), "\(text.shellWord)")
    }

    @Test func `what a shell would not change stays as it is`() {
        for text in ["plain/a-1.b:c=d,e+f@g%", "model.path=/a/b"] { #expect(text.shellWord == text) }
    }
}
