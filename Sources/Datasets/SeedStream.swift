/// Streams of the seed, one for each kind of draw, far enough apart that none reaches the next.
package enum SeedStream {
    package static let batchOrder: UInt64 = 1
    package static let trainingTokens: UInt64 = 1 << 32
    package static let evaluationTokens: UInt64 = 2 << 32
    /// Stored tokens that a step uses, and the sequence's place.
    package static let storedTokens: UInt64 = 3 << 32
}
