package import TensorCore

/// The lowest `bits` of the 23 fraction bits of every value set to 0: numbers of 32 − `bits` bits, rounded towards 0.
///
/// Infinities stay; so does NaN, whose fraction keeps one bit set.
/// - Precondition: 0 ≤ bits ≤ 23.
package func truncatedMantissa(_ x: Tensor, bits: Int) -> Tensor {
    precondition((0...23).contains(bits), "\(bits) of 23 fraction bits")
    let mask = ~UInt32(0) << UInt32(bits)
    var result = Tensor(uninitialized: x.shape)
    let (source, target) = (x.pointer, result.mutablePointer)
    for index in 0..<x.count {
        let value = source[index]
        target[index] = value.isNaN ? value : Float(bitPattern: value.bitPattern & mask)
    }
    return result
}
