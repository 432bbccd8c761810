import TensorCore
import Testing

@Suite struct TensorTests {
    @Test func `writing to one of two tensors that share memory leaves the other as it was`() {
        let a = Tensor([1, 2, 3, 4], [2, 2])
        var b = a
        b[0, 0] = 9
        #expect(a[0, 0] == 1 && b[0, 0] == 9)
    }

    @Test(arguments: [[37, 65], [16, 32], [300, 48], [513, 3], [1, 20]])
    func `a transposed matrix has every entry in its place`(shape: [Int]) {
        let (m, n) = (shape[0], shape[1])
        let a = Tensor((0..<m * n).map { Float($0) }, shape)
        #expect(a.transposed().shape == [n, m])
        #expect(a.transposed().elements == (0..<m * n).map { Float($0 % m * n + $0 / m) })
    }

    @Test func `the largest magnitude is NaN where an element is`() {
        #expect(Tensor([1, -3, 2], [3]).maxMagnitude == 3)
        #expect(Tensor([1, .nan, 2], [3]).maxMagnitude.isNaN)
        #expect(!Tensor([1, .infinity], [2]).isFinite)
    }
}

@Suite struct RandomTests {
    /// Known answers of Philox4x32-10: Random123's kat_vectors, counter and key all zero.
    @Test func `the stream gives Philox4x32-10's known answer`() {
        var random = RandomStream(seed: 0, stream: 0)
        #expect(random.next() == 0xe169_c58d_6627_e8d5)
        #expect(random.next() == 0x9b00_dbd8_bc57_ac4c)
    }

    @Test func `a stream resumes from its position`() {
        var a = RandomStream(seed: 7, stream: 3)
        for _ in 0..<101 { _ = a.next() }
        var b = RandomStream(seed: 7, stream: 3)
        b.position = a.position
        #expect(a.next() == b.next())
    }

    @Test func `normal draws have mean 0 and variance 1`() {
        var random = RandomStream(seed: 42)
        let n = 100_000
        let draws = (0..<n).map { _ in random.normal() }
        let mean = draws.reduce(0, +) / Double(n)
        let variance = draws.reduce(0) { $0 + $1 * $1 } / Double(n)
        // Standard errors are 0.003 and 0.0045; five of them.
        #expect(abs(mean) < 0.016 && abs(variance - 1) < 0.023)
    }
}
