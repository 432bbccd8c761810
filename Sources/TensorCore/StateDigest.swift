internal import CKernels
package import Support

/// A digest of tensors' elements as stored, to compare state that all ranks compute. It runs at the speed of reading memory, so
/// that every step can afford it, and does not resist forgery as `sha256` does.
package func stateDigest(_ tensors: [Tensor]) -> Digest {
    var digest = StateDigest()
    for tensor in tensors { digest.add(tensor) }
    return digest.value
}

/// ``stateDigest(_:)`` of tensors that are added one after the other.
package struct StateDigest {
    private var lanes = [UInt64](repeating: 0, count: Int(CK_DIGEST_LANES))

    package init() {}

    /// Adds the next tensor.
    package mutating func add(_ tensor: Tensor) { ck_digest(tensor.pointer, tensor.count, &lanes) }

    /// The digest of all tensors added so far.
    package var value: Digest { sha256(lanes.withUnsafeBytes { Array($0) }) }
}
