/// A node of a cluster nobody has described: round numbers of common ones, so that a plan is the same wherever it is made.
package enum AssumedNode {
    package static let cores = 64
    /// Bytes.
    package static let memoryPerCore = 4 << 30
    /// Of float32 matrix products on one core: 32 operations a cycle (two fused multiply-adds of eight values) at 2 GHz are
    /// 64e9, of which a large product reaches some nine tenths.
    package static let productFlops = 6e10
}
