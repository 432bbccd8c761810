import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

/// Files of ternary factors, damaged at random.
@Suite struct FactorMutationTests {
    private let folder: TemporaryFolder
    private let factors: TernaryFactors

    init() throws {
        folder = try TemporaryFolder()
        var random = RandomStream(seed: 12)
        func trits(_ rows: Int, _ columns: Int) -> PackedTernary {
            PackedTernary(Tensor((0..<rows * columns).map { _ in Float(Int(random.next() >> 32) % 3 - 1) }, [rows, columns]))
        }
        let (u, v) = (trits(12, 9), trits(9, 14))
        factors = TernaryFactors(
            u: u, s: (0..<9).map { Float($0 + 1) / 8 }, v: v,
            balance: Balance(a: (0..<12).map { 1 + Float($0) / 4 }, b: (0..<14).map { 2 - Float($0) / 8 }), tolerance: 0.1)
    }

    @Test func `damaged files are read or refused`() throws {
        let path = folder.file("valid.safetensors")
        try TernaryFile.write(["a": factors, "b": factors], to: path)
        let original = try InputFile.contents(of: path, limit: 1 << 20)
        let mutations = Mutations(seed: 82)
        let refused = try mutations.refusals(of: original, at: folder.file("mutant")) { _ = try TernaryFile.read($0) }
        // Digests see almost every change.
        #expect(refused > mutations.count * 9 / 10)
    }

    /// As if the digests were made anew.
    @Test func `damaged codes stand for some factors or are refused`() throws {
        let mutations = Mutations(seed: 83)
        let refused = try mutations.refusals(of: TernaryCode.encode(factors), at: folder.file("mutant")) { path in
            let bytes = try InputFile.contents(of: path, limit: 1 << 20)
            do {
                let read = try TernaryCode.decode(
                    bytes, rows: 12, componentCount: 9, columns: 14, tolerance: 0.1, form: "linear")
                #expect(read.s.allSatisfy { $0.isFinite })
            } catch is TernaryCode.Malformed {
                throw FileError(.malformed, path, "is no code")
            }
        }
        #expect(refused > mutations.count / 4)
    }
}
