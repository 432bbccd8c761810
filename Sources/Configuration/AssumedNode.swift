/// The node of a cluster that is not described: round numbers of common ones, so that a plan is the same wherever it is made.
package enum AssumedNode {
    package static let cores = 64
    /// Bytes.
    package static let memoryPerCore = 4 << 30
    /// Of float32 matrix products on one core: 32 operations a cycle (two fused multiply-adds of eight values) at 2 GHz are
    /// 64e9, of which a large product reaches some nine tenths.
    package static let productFlops = 6e10

    /// Bytes per second and seconds of a small message between nodes: a network of 10 Gbit/s.
    package static let bandwidth = 1.25e9, latency = 3e-5
    /// The same between ranks of one node, whose memory they share.
    package static let sharedBandwidth = 4e9, sharedLatency = 2e-6
}
