import Support
import TensorCore
import TestSupport
import Testing

@testable import HuggingFace

#if canImport(Glibc)
    import Glibc
#endif

/// Damages valid files at random: reading must end with a value or a `FileError`; a trap would end the process.
/// `SQ_FUZZ_COUNT` sets the number of mutations per format.
@Suite struct FuzzTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private var count: Int { getenv("SQ_FUZZ_COUNT").flatMap { Int(String(cString: $0)) } ?? 10_000 }

    /// One to four changes: a bit, a byte that means something in the formats, a copied piece, a cut.
    private func mutate(_ bytes: [UInt8], _ random: inout RandomStream) -> [UInt8] {
        var bytes = bytes
        let telling = Array("{}[]\",:0129-.\\u\u{0}\u{1}\u{7F}tRQXKMJ()sqhc".utf8) + [0xFF, 0x80, 0x85, 0x87, 0x8A]
        for _ in 0...Int.random(in: 0..<4, using: &random) where !bytes.isEmpty {
            let at = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1, 2: bytes[at] = telling.randomElement(using: &random) ?? 0
            case 3: bytes.insert(telling.randomElement(using: &random) ?? 0, at: at)
            case 4:
                bytes.insert(
                    contentsOf: bytes[at..<min(bytes.count, at + 9)], at: Int.random(in: 0...bytes.count, using: &random))
            default: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1..<5, using: &random)))
            }
        }
        return bytes
    }

    /// How many of the mutants were refused.
    private func refusals(_ original: [UInt8], read: (String) throws -> Void) throws -> Int {
        var random = RandomStream(seed: 77)
        let path = folder.file("mutant")
        var refused = 0
        for _ in 0..<count {
            let mutant = mutate(original, &random)
            unlink(path)  // truncating it instead makes some file systems write it to the disk
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
            try #require(write(descriptor, mutant, mutant.count) == mutant.count && close(descriptor) == 0)
            do {
                try read(path)
            } catch is FileError {
                refused += 1
            }
        }
        return refused
    }

    @Test func `damaged safetensors files are read or refused`() throws {
        let path = folder.file("valid")
        try SafetensorsFile.write(
            [
                TensorSource("a.weight", Tensor(repeating: 1, [2, 3]), as: .bf16),
                TensorSource("ids", integers: [1, 2, 3], [3]),
            ], to: path)
        let refused = try refusals(InputFile.contents(of: path, limit: 1 << 20)) { path in
            let file = try SafetensorsFile(path)
            for name in file.names {
                _ = try? file.readInts(name)
                _ = try file.readFloat(name, rows: 0..<1)
            }
        }
        #expect(refused > count / 2)
    }

    @Test func `damaged torch files are read or refused`() throws {
        let path = folder.file("valid")
        try TorchArchive.write([("R1", Tensor(identity: 4)), ("R2", Tensor(identity: 2))], to: path)
        let refused = try refusals(InputFile.contents(of: path, limit: 1 << 20)) { path in
            let archive = try TorchArchive(path)
            for name in archive.names { _ = try archive.read(name) }
        }
        #expect(refused > count / 2)
    }

    @Test func `damaged pickles, their checksums right, are read or refused`() throws {
        let path = folder.file("valid")
        try TorchArchive.write([("R1", Tensor(identity: 4)), ("R2", Tensor(identity: 2))], to: path)
        let pickle = try ZipReader(InputFile(path)).contents("valid/data.pkl")
        var random = RandomStream(seed: 78)
        var refused = 0
        for _ in 0..<count * 4 {
            do throws(PickleError) {
                _ = try TensorPickle.items(mutate(pickle, &random))
            } catch {
                refused += 1
            }
        }
        #expect(refused > count)
    }

    @Test func `damaged tokenizers are read, and cut text, or are refused`() throws {
        let tokenizer = #"""
            {"added_tokens": [{"id": 0, "content": "<s>", "special": true, "lstrip": true, "normalized": false}],
             "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "▁"},
               {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split",
               "pattern": {"Regex": "\\p{N}{1,3}| ?\\p{L}+"}, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
             "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0],
               "tokens": ["<s>"]}}}, "decoder": {"type": "ByteLevel"},
             "model": {"type": "BPE", "byte_fallback": false, "ignore_merges": false, "vocab": {"<s>": 0,
               "a": 2, "b": 3, "c": 4, "ab": 5, "bc": 6, "Ġ": 7, "Ġa": 9, "1": 1}, "merges": ["b c", ["a", "b"], "Ġ a"]}}
            """#
        let refused = try refusals(Array(tokenizer.utf8)) { path in
            let read = try Tokenizer(contentsOf: path)
            _ = read.decode(read.encode("abc a  b1é <s>bc", addSpecialTokens: true), skipSpecialTokens: false)
        }
        #expect(refused > count / 4 && refused < count)
    }

    @Test func `damaged indexes are read or refused`() throws {
        let index = #"{"metadata": {"total_size": 16}, "weight_map": {"w": "a.safetensors", "v\u00e9": "b.safetensors"}}"#
        let refused = try refusals(Array(index.utf8)) { _ = try ShardIndex($0) }
        #expect(refused > count / 4)
    }
}
