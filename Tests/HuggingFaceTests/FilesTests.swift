import Glibc
import HuggingFace
import Support
import TestSupport
import Testing

func truncate(_ path: String, to size: Int) throws {
    try #require(Glibc.truncate(path, off_t(size)) == 0)
}

@Suite struct FilesTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func code(_ body: () throws -> Void) -> ExitCode? {
        do {
            try body()
            return nil
        } catch {
            return (error as? FileError)?.exitCode
        }
    }

    @Test func `a FIFO, a device and a folder are refused without blocking`() throws {
        try #require(mkfifo(folder.file("fifo"), 0o600) == 0)
        for path in [folder.file("fifo"), "/dev/zero", folder.path] {
            #expect(code { _ = try InputFile(path) } == .data, "\(path)")
        }
    }

    @Test(arguments: [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "is a Git LFS pointer"),
        ("\n<!DOCTYPE html><html><head><title>404</title>", "is an HTML page"), ("<html>not found</html>", "is an HTML page"),
        ("\u{FEFF}{\"a\": 1}", "begins with a byte-order mark"), ("Entry not found and more", "a server's error message"),
    ])
    func `a file that a download has damaged is named`(text: String, fragment: String) throws {
        for name in ["config.json", "model.safetensors.index.json", "tokenizer.json", "model.safetensors", "R.bin"] {
            try AtomicFile.write(text, to: folder.file(name))
            let read: () throws -> Void = {
                switch name {
                case "model.safetensors": _ = try SafetensorsFile(folder.file(name))
                case "R.bin": _ = try TorchArchive(folder.file(name))
                case "tokenizer.json": _ = try Tokenizer(folder: folder.path)
                default: _ = try InputFile.json(folder.file(name))
                }
            }
            #expect { try read() } throws: { error in
                (error as? FileError)?.exitCode == .data && "\(error)".contains(fragment) && "\(error)".contains(name)
            }
        }
    }

    @Test func `text may begin as no other file does, and an archive as no text`() {
        for text in ["<!-- a note -->", "<?xml?>", "Access to model", "\u{FEFF}a"] {
            #expect(Impostor(text: text.utf8) == nil && Impostor(text.utf8) != nil, "\(text)")
        }
        #expect(Impostor(text: "PK\u{3}\u{4}".utf8) == .compressed("zip") && Impostor("PK\u{3}\u{4}".utf8) == nil)
        for bytes in [[0xFF, 0xFE, 0x61, 0], [0x1F, 0x8B, 8], [0x28, 0xB5, 0x2F, 0xFD]] as [[UInt8]] {
            #expect(Impostor(bytes) != nil && Impostor(bytes) == Impostor(text: bytes))
        }
    }

    @Test func `a file that is not there has exit code 66`() {
        #expect(code { _ = try InputFile(folder.file("absent")) } == .noInput)
        #expect(code { _ = try InputFile(folder.file("absent/below")) } == .noInput)
        #expect(code { _ = try InputFile("a\0b") } == .noInput)
    }

    @Test func `writing where nothing can be written has exit code 74 and leaves no trace`() throws {
        #expect(code { try AtomicFile.write("x", to: folder.file("absent/x")) } == .io)
        #expect(code { try AtomicFile.write(Array(repeating: 0, count: 100), to: "/dev/full/x") } == .io)
        try AtomicFile.write("old", to: folder.file("f"))
        do {
            let file = try AtomicFile(folder.file("f"))
            try file.write("new".utf8)
        }
        #expect(try InputFile.contents(of: folder.file("f"), limit: 10) == Array("old".utf8))
        #expect(try entries(ofFolder: folder.path) == ["f"])
    }

    @Test func `an error is one line, whatever a name contains`() {
        let error = FileError(.malformed, "a\nb\u{1B}[31m", String(repeating: "x", count: 10_000))
        #expect(!error.description.contains { $0.isNewline || $0 == "\u{1B}" })
        #expect(error.description.count < 700)
    }

    @Test func `a folder appears complete or not at all, and takes an older one's place`() throws {
        let target = folder.file("model")
        for round in ["first", "second"] {
            let writer = try HFFolderWriter(target + "/")
            try writer.write(round, as: "config.json")
            try writer.commit()
            #expect(try InputFile.contents(of: target + "/config.json", limit: 10) == Array(round.utf8))
        }
        do {
            let abandoned = try HFFolderWriter(target)
            try abandoned.write("third", as: "config.json")
        }
        #expect(try InputFile.contents(of: target + "/config.json", limit: 10) == Array("second".utf8))
        #expect(try entries(ofFolder: folder.path) == ["model"])
    }

    @Test func `two writers of one folder at a time are refused, and what a killed one has left is removed`() throws {
        let target = folder.file("model")
        do {
            let living = try HFFolderWriter(target)
            try living.write("living", as: "config.json")
            #expect { try HFFolderWriter(target) } throws: {
                "\($0)".contains("\(target).tmp: another process is writing there")
            }
            try living.commit()
        }
        #expect(try entries(ofFolder: target) == ["config.json"])
        // Killed before its lock was made, and later.
        for names in [[], ["half", ".writing"]] {
            try makeFolder(target + ".tmp")
            for name in names { try AtomicFile.write("", to: "\(target).tmp/\(name)") }
            let next = try HFFolderWriter(target)
            try next.write("next", as: "config.json")
            try next.commit()
            #expect(try entries(ofFolder: target) == ["config.json"])
            #expect(try entries(ofFolder: folder.path) == ["model"])
        }
    }

    @Test func `what no writer has made stays where it is`() throws {
        let target = folder.file("model")
        func commit() throws {
            let writer = try HFFolderWriter(target)
            try writer.write("{}", as: "config.json")
            try writer.commit()
        }
        try commit()
        for name in ["old", "old-mine", "tmp"] {
            try makeFolder("\(target).\(name)")
            try AtomicFile.write("mine", to: "\(target).\(name)/notes.txt")
        }
        #expect { try commit() } throws: {
            "\($0)".contains("model.tmp: exists and is not a leftover of an earlier run")
        }
        try removeTree(target + ".tmp")
        try commit()
        for name in ["old", "old-mine"] { #expect(try entries(ofFolder: "\(target).\(name)") == ["notes.txt"]) }

        // What has got the name meanwhile is not what was to be replaced.
        try removeTree(target)
        let late = try HFFolderWriter(target)
        try makeFolder(target)
        try AtomicFile.write("mine", to: target + "/notes.txt")
        #expect { try late.commit() } throws: { "\($0)".contains("cannot be renamed") }
        #expect(try entries(ofFolder: target) == ["notes.txt"])
    }

    @Test func `what a killed writer left of a folder that it replaced goes with the next one`() throws {
        let target = folder.file("model")
        for _ in 0..<2 {
            let writer = try HFFolderWriter(target)
            try writer.write("{}", as: "config.json")
            try writer.commit()
            try makeFolder(target + ".old-killed")
            for name in ["config.json", ".writing"] { try AtomicFile.write("", to: "\(target).old-killed/\(name)") }
        }
        let last = try HFFolderWriter(target)
        try last.commit()
        #expect(try entries(ofFolder: folder.path) == ["model"])
    }

    @Test func `tokenizer files are passed through, absent ones left out`() throws {
        try AtomicFile.write("{}", to: folder.file("tokenizer.json"))
        try AtomicFile.write("other", to: folder.file("notes.txt"))
        let writer = try HFFolderWriter(folder.file("out"))
        try writer.copy(from: folder.path)
        try writer.commit()
        #expect(try entries(ofFolder: folder.file("out")) == ["tokenizer.json"])
    }

    @Test func `a configuration's errors name the file and the key`() throws {
        let path = folder.file("config.json")
        try AtomicFile.write(#"{"n": 3, "x": 1e-5, "s": "a", "zero": 0, "absent": null, "r": {"k": true}}"#, to: path)
        let config = try HFConfig(path)
        #expect(
            try config.integer("n") == 3 && config.number("x") == 1e-5 && config.number("n") == 3 && config.string("s") == "a")
        #expect(
            try config.integer("absent", default: 8) == 8 && config.object("r")?.bool("k") == true && config.object("q") == nil)
        #expect { try config.integer("x") } throws: { "\($0)".contains("config.json: x: is not an integer") }
        #expect { try config.integer("absent") } throws: { "\($0)".contains("absent: is missing") }
        #expect { try config.extent("zero") } throws: { "\($0)".contains("zero: 0 is not between") }
        #expect { try config.object("r")?.string("k") } throws: { "\($0)".contains("config.json: r: k: is not a string") }
    }
}
