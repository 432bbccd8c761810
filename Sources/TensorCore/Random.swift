internal import Glibc

/// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
///
/// A stream is a key (`seed`) and a purpose (`stream`); draw `n` of a stream is the same on every rank and machine, and a
/// stream can be resumed from `position` alone.
package struct RandomStream: RandomNumberGenerator, Sendable {
    private let key: (UInt32, UInt32)
    private let stream: UInt64
    /// Number of 64-bit draws taken so far; assign to jump.
    package var position: UInt64 = 0

    /// A stream from its beginning.
    package init(seed: UInt64, stream: UInt64 = 0) {
        key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        self.stream = stream
    }

    /// Draws 2·`index` and 2·`index` + 1 of the stream.
    private func block(_ index: UInt64) -> (UInt64, UInt64) {
        var c0 = UInt32(truncatingIfNeeded: index), c1 = UInt32(truncatingIfNeeded: index >> 32)
        var c2 = UInt32(truncatingIfNeeded: stream), c3 = UInt32(truncatingIfNeeded: stream >> 32)
        var (k0, k1) = key
        for _ in 0..<10 {
            let p0 = UInt64(c0) &* 0xD251_1F53
            let p1 = UInt64(c2) &* 0xCD9E_8D57
            (c0, c1, c2, c3) = (
                UInt32(truncatingIfNeeded: p1 >> 32) ^ c1 ^ k0, UInt32(truncatingIfNeeded: p1),
                UInt32(truncatingIfNeeded: p0 >> 32) ^ c3 ^ k1, UInt32(truncatingIfNeeded: p0)
            )
            k0 = k0 &+ 0x9E37_79B9
            k1 = k1 &+ 0xBB67_AE85
        }
        return (UInt64(c0) | UInt64(c1) << 32, UInt64(c2) | UInt64(c3) << 32)
    }

    /// The next 64 bits of the stream.
    package mutating func next() -> UInt64 {
        let (low, high) = block(position >> 1)
        defer { position &+= 1 }
        return position & 1 == 0 ? low : high
    }

    /// Uniform on [0, 1), 53 bits.
    package mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// Standard normal, by Box and Muller (two draws, one result: position stays a function of the count).
    package mutating func normal() -> Double {
        let radius = (-2 * log(1 - uniform())).squareRoot()
        return radius * cos(2 * Double.pi * uniform())
    }
}

extension Tensor {
    /// Independent normal elements of the given standard deviation.
    package init(normal shape: [Int], deviation: Double = 1, from random: inout RandomStream) {
        self.init(uninitialized: shape)
        let target = mutablePointer
        for i in 0..<count { target[i] = Float(deviation * random.normal()) }
    }
}
