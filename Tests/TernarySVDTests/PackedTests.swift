import HuggingFace
import LinearAlgebra
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct PackedTests {
    private func ternary(_ m: Int, _ n: Int, seed: UInt64 = 3) -> Tensor {
        var random = RandomStream(seed: seed)
        return Tensor((0..<m * n).map { _ in Float(Int(random.next() % 3) - 1) }, [m, n])
    }

    @Test(arguments: [[1, 1], [3, 5], [7, 64], [8, 65], [5, 129], [33, 200]])
    func `packing keeps every entry, in memory and in codes`(shape: [Int]) throws {
        let t = ternary(shape[0], shape[1])
        let packed = PackedTernary(t)
        #expect(packed.unpacked.elements == t.elements)
        #expect(packed.nonzeros == t.nonzeroCount)
        let again = try #require(PackedTernary(codes: packed.codes, rows: shape[0], columns: shape[1]))
        #expect(again == packed)
    }

    @Test(arguments: [[1, 1, 1], [5, 3, 17], [40, 70, 130], [65, 64, 63]], [1, 16, 21])
    func `the packed product is the dense one within rounding`(shape: [Int], tokens: Int) throws {
        let (m, k, n) = (shape[0], shape[1], shape[2])
        var random = RandomStream(seed: 8)
        let u = ternary(m, k), v = ternary(k, n, seed: 4)
        let s = Tensor(normal: [k], from: &random), x = Tensor(normal: [tokens, n], from: &random)
        let balance = Balance(a: (0..<m).map { 1 + Float($0) / 8 }, b: (0..<n).map { 1 + Float($0 % 5) })
        for balance in [nil, balance] {
            let factors = TernaryFactors(
                u: PackedTernary(u), s: s.elements, v: PackedTernary(v), balance: balance, tolerance: 0.05)
            let dense = matmul(x, .asStored, factors.unpacked(), .transposed)
            // Sums of k·n terms in another order: rounding of about √(kn) units.
            let bound = 1e-6 * Float(k * n).squareRoot() * max(1, dense.maxMagnitude)
            #expect(maxDifference(factors.apply(x), dense) <= bound)
            #expect(factors.additions == u.nonzeroCount + v.nonzeroCount)
        }
    }

    @Test func `a packed layer takes at most 0.27 bytes an entry`() {
        let factors = TernaryFactors(
            u: PackedTernary(ternary(256, 387)), s: [Float](repeating: 1, count: 387), v: PackedTernary(ternary(387, 256)),
            tolerance: 0.05)
        #expect(Double(factors.byteCount) <= 0.27 * Double(387 * 512))
    }

    @Test func `a file of packed layers is read back as written`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/ternary.safetensors"
        let plain = TernaryFactors(
            u: PackedTernary(ternary(6, 9)), s: (0..<9).map(Float.init), v: PackedTernary(ternary(9, 5)), tolerance: 0.1)
        let balanced = TernaryFactors(
            u: plain.u, s: plain.s, v: plain.v, balance: Balance(a: [1, 2, 3, 4, 5, 6], b: [1, 2, 3, 4, 5]), tolerance: 0.02,
            form: "conv2d:1")
        try TernaryFile.write(["plain": plain, "balanced": balanced], to: path)
        let read = try TernaryFile.read(path)
        #expect(read.count == 2)
        for (name, layer) in ["plain": plain, "balanced": balanced] {
            let other = try #require(read[name])
            #expect(other.u == layer.u && other.s == layer.s && other.v == layer.v)
            #expect(other.tolerance == layer.tolerance && other.form == layer.form)
            #expect(other.balance?.a == layer.balance?.a && other.balance?.b == layer.balance?.b)
        }
    }

    @Test func `damaged files of packed layers are refused`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/bad.safetensors"
        let metadata = [
            "format": "sq-train.ternary", "version": "1", "l.shape": "2,2,2", "l.form": "linear", "l.tolerance": "0.1",
        ]
        let u = TensorSource("l.u", .u8, [1]) { .bytes([0b00_01_10_01]) }
        let v = TensorSource("l.v", .u8, [1]) { .bytes([0b01_01_10_01]) }
        let s = TensorSource("l.s", Tensor([1, 2], [2]))
        func refused(_ sources: [TensorSource], _ changes: [String: String] = [:]) throws -> Bool {
            try SafetensorsFile.write(sources, to: path, metadata: metadata.merging(changes) { $1 })
            do { _ = try TernaryFile.read(path) } catch {
                return (error as? any ReportableError)?.exitCode == .data && "\(error)".contains(path)
            }
            return false
        }
        #expect(try !refused([u, v, s]))
        #expect(try refused([TensorSource("l.u", .u8, [1]) { .bytes([0b00_11_00_01]) }, v, s]), "entry 3")
        #expect(try refused([TensorSource("l.u", .u8, [2]) { .bytes([1, 0]) }, v, s]), "too long")
        #expect(try refused([u, v, s], ["l.shape": "2,2,3"]), "v is too short")
        #expect(try refused([u, v, s], ["l.shape": "1,2,2"]), "bits beyond the last entry, or too long")
        #expect(try refused([u, v, s], ["l.shape": "-2,2,2"]), "negative")
        #expect(try refused([u, v, s], ["l.shape": "9999999999999999999,2,2"]), "too large")
        #expect(try refused([u, v, TensorSource("l.s", Tensor([1, .nan], [2]))]), "NaN scale")
        #expect(try refused([u, v, TensorSource("l.s", Tensor([1], [1]))]), "one scale short")
        #expect(try refused([u, v, s, TensorSource("l.a", Tensor([1, 1], [2]))]), "a without b")
        #expect(try refused([u, v, s], ["version": "2"]))
        #expect(try refused([u, v, s], ["l.tolerance": "2"]))
        #expect(try refused([u, v]), "no scales")
        #expect(try refused([u, v, s, TensorSource("stray", Tensor([1], [1]))]))
    }
}
