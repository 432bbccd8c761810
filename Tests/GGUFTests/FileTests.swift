import Glibc
import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@testable import GGUF

@Suite struct FileTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private static let values: [(key: String, value: GGUFValue)] = [
        ("general.architecture", .string("tiny")), ("a.uint8", .uint8(200)), ("a.int8", .int8(-7)),
        ("a.uint16", .uint16(40_000)),
        ("a.int16", .int16(-300)), ("a.uint32", .uint32(.max)), ("a.int32", .int32(.min)), ("a.uint64", .uint64(1 << 40)),
        ("a.int64", .int64(-1 << 40)), ("a.float32", .float32(0.1)), ("a.float64", .float64(0.1)), ("a.bool", .bool(true)),
        ("a.strings", .strings(["", "é", "Ġthe"])), ("a.integers", .integers([1, -2, 3])), ("a.none", .strings([])),
    ]

    private static func tensor(_ shape: [Int], seed: UInt64 = 1) -> Tensor {
        var random = RandomStream(seed: seed)
        return Tensor(normal: shape, deviation: 1, from: &random)
    }

    /// A small file of all encodings that are written.
    private static func write(to path: String) throws {
        let ternary = Tensor((0..<512).map { Float($0 % 3 - 1) }, [2, 256])
        let sources = [GGUFEncoding.f32, .f16, .bf16, .q4_0, .q8_0].map { encoding in
            GGUFTensorSource("\(encoding.name).weight", encoding, [3, 64]) { tensor([3, 64]) }
        }
        try GGUFFile.write(
            values,
            sources + [GGUFTensorSource("ternary", .tq2_0, [2, 256]) { ternary }, .init("v", .f32, [3]) { tensor([3]) }],
            to: path)
    }

    @Test func `values and tensors come back as they were written`() throws {
        let path = folder.file("a.gguf")
        try Self.write(to: path)
        let file = try GGUFFile(path)
        #expect(file.values.map(\.key) == Self.values.map(\.key))
        #expect(file.values.map(\.value) == Self.values.map(\.value))
        #expect(file.tensors.map(\.name).last == "v" && file.tensors.allSatisfy { $0.byteRange.lowerBound % 32 == 0 })
        let original = Self.tensor([3, 64])
        #expect(try file.read("F32.weight").elements == original.elements)
        #expect(try file.read("F16.weight").elements == original.elements.map { Float(Float16($0)) })
        #expect(maxDifference(try file.read("BF16.weight"), original) <= original.maxMagnitude / 256)
        #expect(maxDifference(try file.read("Q8_0.weight"), original) <= original.maxMagnitude / 200)
        #expect(try file.read("ternary").elements == (0..<512).map { Float($0 % 3 - 1) })
        #expect(try file.read("v").shape == [3])
    }

    /// docs/formats.md of the format: magic, version 3, counts; a key, its type and value; a tensor with its innermost extent
    /// first.
    @Test func `the header has the bytes of the format`() throws {
        let path = folder.file("a.gguf")
        try GGUFFile.write([("k", .uint32(5))], [.init("t", .f32, [2, 3]) { Tensor(repeating: 1, [2, 3]) }], to: path)
        var expected = Array("GGUF".utf8) + [3, 0, 0, 0]
        expected += [1, 0, 0, 0, 0, 0, 0, 0] + [1, 0, 0, 0, 0, 0, 0, 0]
        expected += [1, 0, 0, 0, 0, 0, 0, 0] + Array("k".utf8) + [4, 0, 0, 0] + [5, 0, 0, 0]
        expected += [1, 0, 0, 0, 0, 0, 0, 0] + Array("t".utf8) + [2, 0, 0, 0]
        expected += [3, 0, 0, 0, 0, 0, 0, 0] + [2, 0, 0, 0, 0, 0, 0, 0] + [0, 0, 0, 0] + [0, 0, 0, 0, 0, 0, 0, 0]
        expected += [UInt8](repeating: 0, count: 96 - expected.count)
        expected += (0..<6).flatMap { _ in [0, 0, 0x80, 0x3F] as [UInt8] } + [UInt8](repeating: 0, count: 8)
        #expect(try InputFile.contents(of: path, limit: 1 << 20) == expected)
    }

    /// What a header of one value (a uint32) and one tensor (F32, 2×3) says when some of its bytes are others.
    @Test(arguments: [
        (0, [0x67] as [UInt8], "byte 0: is not a GGUF file"), (4, [2], "byte 4: is GGUF version 2"),
        (4, [0, 0, 0, 3], "byte 4: is big-endian"), (8, [255, 255, 255, 255, 255], "byte 8:"),
        (16, [200], "byte 16: 200 values"),
        (24, [200], "byte 24: a key of 200 bytes"), (32, [0xFF], "byte 24: a key is not UTF-8"),
        (33, [77], "has the unknown type 77"),
        (33, [9, 0, 0, 0, 9], "is an array of arrays"), (49, [0xC0], "a tensor's name is not UTF-8"),
        (50, [0], "has 0 axes"), (50, [5], "has 5 axes"), (54, [0], "an extent of 0"), (61, [0x80], "is not between 1"),
        (57, [0x7F, 0, 0, 0, 0, 0, 0, 0, 0x7F], "larger than the file"), (54, [200], "needs 1600 bytes"),
        (70, [12], "has the type Q4_K"), (70, [99], "has the type 99"), (70, [8], "rows of 3 do not divide"),
        (74, [32], "begins at 32 of the data"),
    ])
    func `a header that breaks a rule is refused by its byte`(at: Int, bytes: [UInt8], fragment: String) throws {
        let path = folder.file("a.gguf")
        try GGUFFile.write([("k", .uint32(5))], [.init("t", .f32, [2, 3]) { Tensor(repeating: 1, [2, 3]) }], to: path)
        var content = try InputFile.contents(of: path, limit: 1 << 20)
        content.replaceSubrange(at..<at + bytes.count, with: bytes)
        try AtomicFile.write(content, to: path)
        do {
            _ = try GGUFFile(path)
            Issue.record("it was read")
        } catch {
            #expect(error.exitCode == .data && error.description.contains(fragment), "\(error)")
        }
    }

    @Test func `keys and names that occur twice, odd alignments, cuts and tails are refused`() throws {
        let path = folder.file("a.gguf")
        func refusal(_ change: (inout [UInt8]) -> Void) throws -> String {
            try GGUFFile.write(
                [("x.alignment", .uint32(32)), ("y.alignment", .uint32(32))],
                [.init("t", .f32, [8]) { Tensor(zeros: [8]) }, .init("u", .f32, [8]) { Tensor(zeros: [8]) }], to: path)
            var content = try InputFile.contents(of: path, limit: 1 << 20)
            change(&content)
            try AtomicFile.write(content, to: path)
            do {
                _ = try GGUFFile(path)
                return "read"
            } catch { return error.description }
        }
        #expect(try refusal { _ in } == "read")
        #expect(try refusal { $0[59] = UInt8(ascii: "x") }.contains("occurs twice"))
        #expect(
            try refusal { $0[$0.lastIndex(of: UInt8(ascii: "u")) ?? 0] = UInt8(ascii: "t") }.contains("tensor t occurs twice"))
        #expect(try refusal { $0.removeLast(33) }.contains("the file ends at"))
        #expect(try refusal { $0.removeLast(100) }.contains("the file ends within"))
        #expect(try refusal { $0 += [1] }.contains("1 bytes follow the last tensor"))
        try GGUFFile.write([("general.alignment", .uint32(48))], [], to: path)
        #expect(throws: FileError.self) { _ = try GGUFFile(path) }
    }

    @Test func `arrays that would fill the memory are refused before it`() throws {
        let path = folder.file("a.gguf")
        try GGUFFile.write([("k", .array(.uint8, [.uint8(1)]))], [], to: path)
        // The count, and as many bytes of file, which a hole of it gives.
        var content = try InputFile.contents(of: path, limit: 1 << 20)
        content.replaceSubrange(41..<49, with: [0, 0, 0, 1, 0, 0, 0, 0])
        try AtomicFile.write(content, to: path)
        #expect(truncate(path, 1 << 25) == 0)
        do {
            _ = try GGUFFile(path)
            Issue.record("it was read")
        } catch {
            #expect(error.description.contains("k has 16777216 elements"), "\(error)")
        }
    }

    @Test func `an element that is no number is refused by its byte`() throws {
        let path = folder.file("a.gguf")
        try GGUFFile.write([], [.init("t", .q8_0, [64]) { Tensor(repeating: 1, [64]) }], to: path)
        var content = try InputFile.contents(of: path, limit: 1 << 20)
        let data = content.count - 96 + 34
        content.replaceSubrange(data..<data + 2, with: [0x00, 0x7E])
        try AtomicFile.write(content, to: path)
        do {
            _ = try GGUFFile(path).read("t")
            Issue.record("it was read")
        } catch {
            #expect(error.description.contains("byte \(data)") && error.description.contains("element 32 is nan"), "\(error)")
        }
    }

    @Test func `a file that cannot be finished leaves nothing`() throws {
        let path = folder.file("a.gguf")
        struct Failure: Error {}
        #expect(throws: Failure.self) {
            try GGUFFile.write([], [.init("t", .f32, [64]) { throw Failure() }], to: path)
        }
        #expect(throws: FileError.self) {
            try GGUFFile.write([], [.init("t", .f16, [1]) { Tensor([1e6], [1]) }], to: path)
        }
        #expect(try entries(ofFolder: folder.path).isEmpty)
    }

    @Test func `damaged files are read or refused`() throws {
        let path = folder.file("valid.gguf")
        try Self.write(to: path)
        let original = try InputFile.contents(of: path, limit: 1 << 20)
        let mutations = Mutations(seed: 79)
        let refused = try mutations.refusals(of: original, at: folder.file("mutant")) { path in
            let file = try GGUFFile(path)
            for info in file.tensors { _ = try file.read(info.name) }
        }
        // A change of a tensor's data or of a value is none of the format's rules.
        #expect(refused > mutations.count / 4)
    }
}
