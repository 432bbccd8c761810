internal import TensorCore

/// Faults in what arrives at a rank, to test that the bus repairs it: each message is dropped, doubled, held back behind its
/// sender's next one, or has a byte changed, with these probabilities.
package struct FaultInjection {
    package var drop = 0.0
    package var double = 0.0
    package var reorder = 0.0
    package var corrupt = 0.0
    private var random: RandomStream
    /// Messages held back, by sender.
    private var held: [Int: [[UInt8]]] = [:]
    /// Faults so far.
    package private(set) var count = 0

    package init(drop: Double, double: Double, reorder: Double, corrupt: Double, seed: UInt64, rank: Int) {
        (self.drop, self.double, self.reorder, self.corrupt) = (drop, double, reorder, corrupt)
        random = RandomStream(seed: seed, stream: UInt64(rank))
    }

    /// The messages that take the place of this one; all are its sender's.
    mutating func inject(_ parts: [[UInt8]], from sender: Int) -> [[[UInt8]]] {
        var result: [[[UInt8]]] = []
        let choice = random.uniform()
        switch choice {
        case ..<drop: count += 1
        case ..<(drop + double):
            count += 1
            result = [parts, parts]
        case ..<(drop + double + reorder) where held[sender] == nil:
            count += 1
            held[sender] = parts
            return []
        case (drop + double + reorder)..<(drop + double + reorder + corrupt):
            count += 1
            result = [corrupted(parts)]
        default: result = [parts]
        }
        if let late = held.removeValue(forKey: sender) { result.append(late) }
        return result
    }

    private mutating func corrupted(_ parts: [[UInt8]]) -> [[UInt8]] {
        var parts = parts
        let candidates = parts.indices.filter { !parts[$0].isEmpty }
        guard let part = candidates.randomElement(using: &random) else { return parts }
        let byte = Int.random(in: parts[part].indices, using: &random)
        parts[part][byte] ^= UInt8.random(in: 1...255, using: &random)
        return parts
    }
}
