internal import CKernels
package import Support

/// A digest of tensors' elements as stored, for state that ranks compute alike: as fast as memory is read, so that every step
/// can afford it. What others could forge is digested by `sha256`.
package func stateDigest(_ tensors: [Tensor]) -> Digest {
    var lanes = [UInt64](repeating: 0, count: Int(CK_DIGEST_LANES))
    for tensor in tensors { ck_digest(tensor.pointer, tensor.count, &lanes) }
    return sha256(lanes.withUnsafeBytes { Array($0) })
}
