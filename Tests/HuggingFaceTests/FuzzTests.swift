import Glibc
import Support
import TensorCore
import TestSupport
import Testing

@testable import HuggingFace

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

    /// Reads the file as it is, which must be possible; every one that ends too early, which must be refused; and mutants,
    /// which are refused or read as something that `isSound` accepts, given also what the file itself holds.
    private func fuzz<Value>(
        _ original: [UInt8], read: (String) throws -> Value, isSound: (Value, Value, _ mutant: [UInt8]) -> Bool
    ) throws {
        let path = folder.file("mutant")
        func written(_ bytes: [UInt8]) throws -> String {
            unlink(path)  // truncating it instead makes some file systems write it to the disk
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
            try #require(write(descriptor, bytes, bytes.count) == bytes.count && close(descriptor) == 0)
            return path
        }
        let valid = try read(written(original))
        for length in original.indices {
            let path = try written(Array(original[..<length]))
            #expect(throws: FileError.self, "the first \(length) bytes") { _ = try read(path) }
        }
        var random = RandomStream(seed: 77)
        for number in 0..<count {
            let mutant = mutate(original, &random)
            let path = try written(mutant)
            do {
                let value = try read(path)
                #expect(isSound(value, valid, mutant), "mutant \(number)")
            } catch is FileError {
                continue
            }
        }
    }

    @Test func `damaged safetensors files are read or refused`() throws {
        let path = folder.file("valid")
        try SafetensorsFile.write(
            [
                TensorSource("a.weight", Tensor(repeating: 1, [2, 3]), as: .bf16),
                TensorSource("ids", integers: [1, 2, 3], [3]),
            ], to: path)
        let original = try InputFile.contents(of: path, limit: 1 << 20)
        // The tensors fill the file exactly, so that no byte can be too many or missing.
        try fuzz(original) { path in
            let file = try SafetensorsFile(path)
            for (name, info) in file.tensors {
                let isFloat = [.f16, .bf16, .f32, .f64].contains(info.type)
                if isFloat, info.shape.count == 2 { _ = try file.readFloat(name, rows: 0..<1) }
                if !isFloat { _ = try file.readInts(name) }
            }
            return file.tensors.values.reduce(0) { $0 + $1.byteRange.count }
        } isSound: { bytes, valid, mutant in
            bytes == valid && mutant.count == original.count
        }
    }

    @Test func `damaged torch files are read or refused`() throws {
        let path = folder.file("valid")
        try TorchArchive.write([("R1", Tensor(identity: 4)), ("R2", Tensor(identity: 2))], to: path)
        // Checksums stand over all of its contents.
        try fuzz(InputFile.contents(of: path, limit: 1 << 20)) { path in
            let archive = try TorchArchive(path)
            return try archive.names.map { ($0, try archive.read($0)) }
        } isSound: { matrices, valid, _ in
            matrices.map(\.0) == valid.map(\.0) && zip(matrices, valid).allSatisfy { $0.1.elements == $1.1.elements }
        }
    }

    @Test func `damaged pickles, their checksums right, are read or refused`() throws {
        let path = folder.file("valid")
        try TorchArchive.write([("R1", Tensor(identity: 4)), ("R2", Tensor(identity: 2))], to: path)
        let pickle = try ZipReader(InputFile(path)).contents("valid/data.pkl")
        #expect(try TensorPickle.items(pickle).count == 2)
        for length in pickle.indices {
            #expect(throws: PickleError.self, "the first \(length) bytes") {
                _ = try TensorPickle.items(Array(pickle[..<length]))
            }
        }
        var random = RandomStream(seed: 78)
        var (read, refused) = (0, 0)
        for number in 0..<count * 4 {
            let mutant = mutate(pickle, &random)
            let items: [(name: String, tensor: PickledTensor)]
            do throws(PickleError) {
                items = try TensorPickle.items(mutant)
            } catch {
                refused += 1
                #expect((0...mutant.count).contains(error.offset), "mutant \(number)")
                continue
            }
            read += 1
            // What is read is no more than the bytes can say, and within its storage.
            let isSound = items.count <= mutant.count / 8 && items.allSatisfy { Self.isWithinStorage($0.tensor) }
            #expect(isSound, "mutant \(number)")
        }
        // A name or a number that changes makes another dictionary; most else makes none.
        #expect(read > 0 && refused > count, "\(read) read, \(refused) refused")
    }

    /// Whether every element that the view names is one of its storage.
    private static func isWithinStorage(_ view: PickledTensor) -> Bool {
        guard view.shape.count == view.strides.count, view.offset >= 0, view.storageCount >= 0,
            view.shape.allSatisfy({ $0 >= 0 }), view.strides.allSatisfy({ $0 >= 0 })
        else { return false }
        if view.shape.contains(0) { return true }
        return zip(view.shape, view.strides).reduce(view.offset) { $0 + ($1.0 - 1) * $1.1 } < view.storageCount
    }

    @Test func `damaged tokenizers are read, and cut text, or are refused`() throws {
        let tokenizer = #"""
            {"added_tokens": [{"id": 0, "content": "<s>", "special": true, "lstrip": true, "normalized": false}],
             "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "▁"},
               {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split",
               "pattern": {"Regex": "\\p{N}{1,3}| ?\\p{L}+"}, "behavior": "Isolated", "invert": false},
               {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]},
             "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0],
               "tokens": ["<s>"]}}}, "decoder": {"type": "ByteLevel"},
             "model": {"type": "BPE", "byte_fallback": false, "ignore_merges": false, "vocab": {"<s>": 0,
               "a": 2, "b": 3, "c": 4, "ab": 5, "bc": 6, "Ġ": 7, "Ġa": 9, "1": 1}, "merges": ["b c", ["a", "b"], "Ġ a"]}}
            """#
        try fuzz(Array(tokenizer.utf8)) { path in
            let read = try Tokenizer(contentsOf: path)
            let tokens = read.encode("abc a  b1é <s>bc", addSpecialTokens: true)
            _ = read.decode(tokens, skipSpecialTokens: false)
            return tokens
        } isSound: { tokens, valid, _ in
            !valid.isEmpty && tokens.allSatisfy { $0 >= 0 }
        }
    }

    @Test func `damaged indexes are read or refused`() throws {
        let index = #"{"metadata": {"total_size": 16}, "weight_map": {"w": "a.safetensors", "v\u00e9": "b.safetensors"}}"#
        // Which files it names stays within the folder, whatever the damage.
        try fuzz(Array(index.utf8)) {
            try ShardIndex($0).shards
        } isSound: { files, _, _ in
            files.allSatisfy { !$0.isEmpty && !$0.contains("/") }
        }
    }
}
