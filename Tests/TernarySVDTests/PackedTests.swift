import HuggingFace
import LinearAlgebra
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct PackedTests {
    /// - Parameter zeros: of six entries, how many are 0.
    private func ternary(_ m: Int, _ n: Int, seed: UInt64 = 3, zeros: UInt64 = 2) -> Tensor {
        var random = RandomStream(seed: seed)
        return Tensor((0..<m * n).map { _ in random.next() % 6 < zeros ? 0 : random.next() % 2 == 0 ? 1 : -1 }, [m, n])
    }

    @Test(arguments: [[1, 1], [3, 5], [7, 64], [8, 65], [5, 129], [33, 200]])
    func `packing keeps every entry, in memory and as bytes`(shape: [Int]) throws {
        for zeros in [0, 2, 5, 6] as [UInt64] {
            let t = ternary(shape[0], shape[1], zeros: zeros)
            let packed = PackedTernary(t)
            #expect(packed.unpacked.elements == t.elements)
            #expect(packed.nonzeros == t.nonzeroCount)
            let bytes = packed.bytes
            #expect(bytes.count == (t.count + 7) / 8 + (packed.nonzeros + 7) / 8)
            let again = try #require(PackedTernary(bytes: bytes, rows: shape[0], columns: shape[1]))
            #expect(again == packed && again.bytes == bytes)
        }
    }

    @Test func `the bytes are a mask, then a sign for each non-zero, lowest bits first`() {
        #expect(PackedTernary(Tensor([1, 0, -1, 0, 0, 1], [2, 3])).bytes == [0b100101, 0b010])
        let nine = PackedTernary(Tensor([Float](repeating: -1, count: 9), [3, 3]))
        #expect(nine.bytes == [0xFF, 1, 0xFF, 1])
        #expect(PackedTernary(Tensor(zeros: [3, 3])).bytes == [0, 0])
    }

    @Test(arguments: [[1, 64], [3, 5], [9, 129], [33, 200]], [0, 2, 5, 6] as [UInt64])
    func `sums of whole numbers are exact`(shape: [Int], zeros: UInt64) {
        let t = ternary(shape[0], shape[1], zeros: zeros)
        // Whole numbers this small are exact in float32, in whatever order they are added.
        let x = Tensor((0..<17 * shape[1]).map { Float($0 * 7 % 251 - 125) }, [17, shape[1]])
        #expect(PackedTernary(t).apply(x).elements == matmul(x, .asStored, t, .transposed).elements)
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

    /// With a sixth and a third of non-zeros (layers have about a fifth), all scales included; and with no zero at all, not
    /// balanced.
    @Test(
        arguments: [([128, 225, 256], 5, 0.2), ([256, 387, 256], 4, 0.2), ([256, 387, 256], 0, 0.27)]
            as [([Int], UInt64, Double)])
    func `a packed layer takes at most 0.27 bytes an entry, a sparse one 0.2`(shape: [Int], zeros: UInt64, limit: Double) {
        let (m, k, n) = (shape[0], shape[1], shape[2])
        func factors(_ balance: Balance?) -> TernaryFactors {
            TernaryFactors(
                u: PackedTernary(ternary(m, k, zeros: zeros)), s: [Float](repeating: 1, count: k),
                v: PackedTernary(ternary(k, n, zeros: zeros)), balance: balance, tolerance: 0.05)
        }
        let ones = Balance(a: [Float](repeating: 1, count: m), b: [Float](repeating: 1, count: n))
        #expect(Double(factors(zeros == 0 ? nil : ones).byteCount) <= limit * Double(k * (m + n)))
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

    @Test func `no changed bit of a packed file goes unnoticed`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/ternary.safetensors"
        let u = PackedTernary(ternary(6, 9)), v = PackedTernary(ternary(9, 5))
        let balance = Balance(a: [Float](repeating: 1, count: 6), b: [Float](repeating: 2, count: 5))
        let layer = TernaryFactors(u: u, s: (0..<9).map(Float.init), v: v, balance: balance, tolerance: 0.1)
        try TernaryFile.write(["layer": layer], to: path)
        let whole = try InputFile.contents(of: path, limit: 1 << 20)
        let data = 8 + whole.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        for place in whole.indices.dropFirst(8) {
            // Blanks fill up the header.
            guard whole[place] != UInt8(ascii: " ") || place >= data else { continue }
            var bytes = whole
            bytes[place] ^= 1 << UInt8(place % 8)
            try AtomicFile.write(bytes, to: path)
            #expect(throws: (any Error).self, "bit \(place % 8) of byte \(place)") { try TernaryFile.read(path) }
        }
    }

    @Test func `a file of version 4, whose factors are not coded, is read`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/old.safetensors"
        let (u, v) = (PackedTernary(ternary(6, 9)), PackedTernary(ternary(9, 5)))
        let s = (0..<9).map { Float($0) + 0.5 }
        var metadata = [
            "format": "sq-train.ternary", "version": "4", "l.shape": "6,9,5", "l.form": "linear", "l.tolerance": "0.1",
        ]
        let scales = TensorSource("l.s", Tensor(s, [9]))
        func write() throws {
            let sources = [("l.u", u.bytes), ("l.v", v.bytes)].map { name, bytes in
                TensorSource(name, .u8, [bytes.count]) { .bytes(bytes) }
            }
            try SafetensorsFile.write(sources + [scales], to: path, metadata: metadata)
        }
        try write()
        let bytes = try SafetensorsFile(path).readBytes("l.s")
        metadata["l.sha256"] = TernaryFile.digest(["6,9,5", "linear", "0.1"], [u.bytes, bytes, v.bytes])
        metadata["metadata_sha256"] = TernaryFile.seal(metadata)
        try write()
        let layer = try #require(try TernaryFile.read(path)["l"])
        #expect(layer.u == u && layer.v == v && layer.s == s && layer.balance == nil)
        let size = try Int(InputFile(path).size)
        #expect(try TernaryFile.layers(of: path)["l"]?.byteCount == size)
    }

    @Test func `damaged files of packed layers are refused`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/bad.safetensors"
        let metadata = [
            "format": "sq-train.ternary", "version": "3", "l.shape": "2,2,2", "l.form": "linear", "l.tolerance": "0.1",
        ]
        func factor(_ name: String, _ bytes: [UInt8]) -> TensorSource {
            TensorSource(name, .u8, [bytes.count]) { .bytes(bytes) }
        }
        let u = factor("l.u", [0b0111, 0b010]), v = factor("l.v", [0b1111, 0b0010])
        let s = TensorSource("l.s", Tensor([1, 2], [2]))
        func refused(_ sources: [TensorSource], _ changes: [String: String] = [:]) throws -> Bool {
            // Whole by its digest, so that every other rule is tried by itself.
            var all = metadata.merging(changes) { $1 }
            try SafetensorsFile.write(sources, to: path, metadata: all)
            let written = try SafetensorsFile(path)
            let tensors = try ["u", "s", "v", "a", "b"].map { "l.\($0)" }.filter { written.tensors[$0] != nil }.map {
                try written.readBytes($0)
            }
            all["l.sha256"] = TernaryFile.digest(["shape", "form", "tolerance"].map { all["l.\($0)"] ?? "" }, tensors)
            try SafetensorsFile.write(sources, to: path, metadata: all)
            do { _ = try TernaryFile.read(path) } catch {
                return (error as? any ReportableError)?.exitCode == .data && "\(error)".contains(path)
            }
            return false
        }
        #expect(try !refused([u, v, s]))
        #expect(try refused([factor("l.u", [0b0111]), v, s]), "no signs")
        #expect(try refused([factor("l.u", [0b0111, 0b010, 0]), v, s]), "too long")
        #expect(try refused([factor("l.u", [0, 0]), v, s]), "a sign without an entry")
        #expect(try refused([factor("l.u", [0b1_0111, 0b010]), v, s]), "a bit beyond the last entry")
        #expect(try refused([factor("l.u", [0b0111, 0b1010]), v, s]), "a sign beyond the last one")
        #expect(try refused([factor("l.u", []), v, s]), "nothing")
        #expect(try refused([u, v, s], ["l.shape": "2,2,9"]), "v is too short")
        #expect(try refused([u, v, s], ["l.shape": "1,2,2"]), "bits beyond the last entry, or too long")
        #expect(try refused([u, v, s], ["l.shape": "-2,2,2"]), "negative")
        #expect(try refused([u, v, s], ["l.shape": "9999999999999999999,2,2"]), "too large")
        #expect(try refused([u, v, TensorSource("l.s", Tensor([1, .nan], [2]))]), "NaN scale")
        #expect(try refused([u, v, TensorSource("l.s", Tensor([1], [1]))]), "one scale short")
        #expect(try refused([u, v, s, TensorSource("l.a", Tensor([1, 1], [2]))]), "a without b")
        #expect(try refused([u, v, s], ["version": "2"]), "without a digest, before")
        #expect(try refused([u, v, s], ["version": "4"]), "metadata without a digest")
        #expect(try refused([u, v, s], ["version": "5"]), "metadata without a digest")
        #expect(try refused([u, v, s], ["l.tolerance": "2"]))
        #expect(try refused([u, v]), "no scales")
        #expect(try refused([u, v, s, TensorSource("stray", Tensor([1], [1]))]))
    }
}
