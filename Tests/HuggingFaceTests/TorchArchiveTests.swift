import Support
import TensorCore
import TestSupport
import Testing

@testable import HuggingFace

@Suite struct TorchArchiveTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private var rotations: [(name: String, tensor: Tensor)] {
        var random = RandomStream(seed: 5)
        return [
            ("R1", Tensor(normal: [300, 300], from: &random)),
            ("model.layers.0.self_attn.R2", Tensor(normal: [16, 16], from: &random)),
            ("model.layers.1.self_attn.R2", Tensor(normal: [16, 16], from: &random)), ("scalar", Tensor([3], [])),
            ("empty", Tensor(zeros: [0, 2])),
        ]
    }

    @Test func `rotations that are written read back exactly, in their order`() throws {
        try TorchArchive.write(rotations, to: folder.file("R.bin"))
        let archive = try TorchArchive(folder.file("R.bin"))
        #expect(archive.names == rotations.map(\.name))
        for (name, tensor) in rotations {
            #expect(try archive.read(name).elements == tensor.elements)
            #expect(try archive.shape(name) == tensor.shape)
        }
        #expect(throws: FileError.self) { try archive.read("R9") }
    }

    @Test func `every entry begins at a multiple of 64`() throws {
        try TorchArchive.write(rotations, to: folder.file("R.bin"))
        let zip = try ZipReader(InputFile(folder.file("R.bin")))
        #expect(
            Set(zip.entries.keys).isSuperset(of: ["R/data.pkl", "R/byteorder", "R/version", "R/.format_version", "R/data/0"]))
        #expect(zip.entries.values.allSatisfy { $0.range.lowerBound % 64 == 0 })
        #expect(try zip.contents("R/extra/program") == Array(ProgramVersion.name.utf8))
    }

    @Test func `any byte of a tensor that changes is found by its checksum`() throws {
        try TorchArchive.write(rotations, to: folder.file("R.bin"))
        var bytes = try InputFile.contents(of: folder.file("R.bin"), limit: 1 << 20)
        bytes[bytes.count / 2] ^= 1
        try AtomicFile.write(bytes, to: folder.file("R.bin"))
        #expect { try TorchArchive(folder.file("R.bin")) } throws: { "\($0)".contains("R/data/0 does not match its checksum") }
    }

    @Test func `CRC-32 has the known check value`() {
        #expect(CRC32.of(Array("123456789".utf8)) == 0xCBF4_3926)
    }

    /// The 84 bytes that would run a shell command in Python's reader, and other programs.
    @Test(arguments: [
        ("\u{2}cos\nsystem\n(X\u{4}\0\0\0true", "names \"os system\", which is refused"),
        ("\u{2}cbuiltins\neval\n", "names \"builtins eval\""),
        ("\u{2}}X\u{1}\0\0\0ai", "is refused"),
        ("\u{2}}X\u{1}\0\0\0aK\u{1}s.", "\"a\" is not a float tensor"),
        ("\u{2}}K\u{1}K\u{1}s.", "a key is not a string"),
        ("\u{2}}}.", "second dictionary"),
        ("\u{2}).", "is not a dictionary"),
        ("\u{2}.", "is not a dictionary"),
        ("\u{2}}.x", "there is more after the end"),
        ("\u{2}}", "ends early"),
        ("\u{2}R", "the stack is empty"),
        ("\u{2}t", "a mark is missing"),
        ("\u{2}h\u{7}", "never stored"),
        ("\u{2}X\u{7F}\0\0\0a", "ends early"),
        ("\u{4}}.", "protocol 2"),
        ("\u{2}ctorch\nFloatStorage\n)R", "not one of torch.save's"),
        ("\u{2}ccollections\nOrderedDict\n)R.", "is not a dictionary"),
    ])
    func `a pickle of anything but float tensors is refused`(program: String, reason: String) {
        #expect {
            try TensorPickle.items([0x80] + Array(program.utf8))
        } throws: { ($0 as? PickleError)?.problem.contains(reason) == true }
    }

    @Test func `a million nested tuples are refused, not released one inside another`() {
        let program: [UInt8] = [0x80, 2, UInt8(ascii: ")")] + Array(repeating: 0x85, count: 1_000_000)
        #expect { try TensorPickle.items(program) } throws: { ($0 as? PickleError)?.problem.contains("nested") == true }
    }

    /// Written by PyTorch 2.15:
    /// `torch.save({"R1": randn(8, 8), "model.layers.0.self_attn.R2": randn(4, 4), "transposed": randn(3, 5).t(),
    /// "half": randn(4).half(), "bf16": randn(4).bfloat16(), "double": randn(4, 2).double(),
    /// "parameter": Parameter(randn(2, 2)), "view": arange(12.).reshape(3, 4)[1:, ::2], "expanded": ones(1).expand(1, 1),
    /// "scalar": tensor(2.5)})` after `manual_seed(0)`; the numbers below are what it printed.
    @Test func `a file of torch.save reads as torch.load reads it`() throws {
        let data = GoldenSuite.testsFolder + "/Data/torch_save.bin"
        let archive = try TorchArchive(data)
        let expected: [(String, [Int], [Float])] = [
            ("transposed", [5, 3], [-0.04042108729481697, -0.26659631729125977, 0.06271883100271225]),
            ("half", [4], [-0.931640625, -1.505859375, -0.6611328125]),
            ("bf16", [4], [0.037109375, -0.28515625, -0.1337890625]),
            ("double", [4, 2], [3.11104416847229, -0.4583958089351654, -0.3359880745410919]),
            ("parameter", [2, 2], [-1.7342501878738403, -1.3360486030578613, 0.8870960474014282]),
            ("view", [2, 2], [4, 6, 8]),
            ("expanded", [1, 1], [1]), ("scalar", [], [2.5]),
        ]
        #expect(archive.names == ["R1", "model.layers.0.self_attn.R2"] + expected.map(\.0))
        for (name, shape, first) in expected {
            let tensor = try archive.read(name)
            #expect(tensor.shape == shape && Array(tensor.elements.prefix(3)) == first, "\(name)")
        }
    }

    /// The directory that an archive above 4 GiB has, here for a small one.
    @Test func `a ZIP64 directory is read`() throws {
        try TorchArchive.write(rotations, to: folder.file("R.bin"))
        let bytes = try InputFile.contents(of: folder.file("R.bin"), limit: 1 << 20)
        let end = bytes.count - 22
        let start = try #require(bytes.u32(end + 16))
        var wide = Array(bytes[..<start])
        var position = start
        while position < end {
            let (size, offset) = (try #require(bytes.u32(position + 24)), try #require(bytes.u32(position + 42)))
            let nameLength = try #require(bytes.u16(position + 28))
            wide += bytes[position..<position + 20] + Array(repeating: 0xFF, count: 8) + bytes[position + 28..<position + 30]
            wide += [28, 0] + bytes[position + 32..<position + 42] + Array(repeating: 0xFF, count: 4)
            wide += bytes[position + 46..<position + 46 + nameLength] + [1, 0, 24, 0]
            for value in [size, size, offset] { wide.append(littleEndian: UInt64(value)) }
            position += 46 + nameLength
        }
        let record = wide.count
        let count = try #require(bytes.u16(end + 10))
        wide += Array("PK\u{6}\u{6}".utf8) + Array(repeating: 0, count: 20)
        for value in [count, count, record - start, start] { wide.append(littleEndian: UInt64(value)) }
        wide += Array("PK\u{6}\u{7}".utf8) + Array(repeating: 0, count: 4)
        wide.append(littleEndian: UInt64(record))
        wide +=
            [1, 0, 0, 0] + Array("PK\u{5}\u{6}".utf8) + Array(repeating: 0, count: 4) + Array(repeating: 0xFF, count: 12) + [
                0, 0,
            ]
        try AtomicFile.write(wide, to: folder.file("wide.bin"))
        let archive = try TorchArchive(folder.file("wide.bin"))
        #expect(try archive.read("R1").elements == rotations[0].tensor.elements)
    }

    @Test func `a file that is no ZIP, an empty one and a directory beyond the end are refused`() throws {
        var wrongEnd = Array("PK\u{5}\u{6}".utf8) + Array(repeating: 0, count: 18)
        wrongEnd[12] = 200
        for bytes in [[], Array("not a zip".utf8), Array(repeating: 0x50, count: 70_000), wrongEnd] {
            try AtomicFile.write(bytes, to: folder.file("R.bin"))
            #expect { try TorchArchive(folder.file("R.bin")) } throws: { ($0 as? FileError)?.exitCode == .data }
        }
    }
}
