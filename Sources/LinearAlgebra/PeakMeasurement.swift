package import TensorCore

/// Operations per second that a product of two 512×512 matrices reaches: the best of many short runs, so that a rank that
/// shares its core still sees what the core can do.
package func measureProductPeak(in precision: ProductPrecision = .float32) -> Double {
    let n = 512
    var random = RandomStream(seed: 1)
    let a = Tensor(normal: [n, n], from: &random)
    let b = Tensor(normal: [n, n], from: &random)
    var c = Tensor(uninitialized: [n, n])
    let clock = ContinuousClock()
    var best = Duration.seconds(3600)
    for _ in 0..<60 {
        best = min(best, clock.measure { matmul(a, .asStored, b, .transposed, in: precision, into: &c) })
    }
    return 2 * Double(n * n * n) / (best / .seconds(1))
}
