internal import CKernels
package import Support

/// A digest of tensors' elements as stored, for state that ranks compute alike: as fast as memory is read, so that every step
/// can afford it. What others could forge is digested by `sha256`.
package func stateDigest(_ tensors: [Tensor]) -> Digest {
    var digest = StateDigest()
    for tensor in tensors { digest.add(tensor) }
    return digest.value
}

/// ``stateDigest(_:)`` of tensors that come one after the other.
package struct StateDigest {
    private var lanes = [UInt64](repeating: 0, count: Int(CK_DIGEST_LANES))

    package init() {}

    /// Takes the next one in.
    package mutating func add(_ tensor: Tensor) { ck_digest(tensor.pointer, tensor.count, &lanes) }

    /// Of all so far.
    package var value: Digest { sha256(lanes.withUnsafeBytes { Array($0) }) }
}
