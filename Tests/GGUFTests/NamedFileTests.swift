import Support
import TestSupport
import Testing

@testable import GGUF

/// What is taken for a GGUF file.
@Suite struct NamedFileTests {
    @Test(arguments: [
        ("model.gguf", "", true), ("model", "", false), ("model", "GGU", false), ("model", "GGUF", true),
        ("model", "GGUG…", false),
    ])
    func `a file is known by its ending or by what it begins with`(_ name: String, _ content: String, _ isOne: Bool) throws {
        let folder = try TemporaryFolder()
        try AtomicFile.write(content, to: folder.file(name))
        #expect(GGUFFile.isNamed(by: folder.file(name)) == isOne)
    }

    @Test func `a folder is none, and nothing is none`() throws {
        let folder = try TemporaryFolder()
        try makeFolder(folder.file("model.gguf"))
        #expect(!GGUFFile.isNamed(by: folder.file("model.gguf")) && !GGUFFile.isNamed(by: folder.file("none.gguf")))
    }
}
