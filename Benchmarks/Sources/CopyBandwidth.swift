internal import Glibc
internal import TensorCore

/// Bytes a second that `memcpy` moves from one buffer to another of this many bytes, read and written counted once each.
func copyBandwidth(bytes: Int) -> Double {
    let count = bytes / MemoryLayout<Float>.stride
    let source = Tensor(repeating: 1, [count])
    var target = Tensor(zeros: [count])
    let seconds = medianSeconds { memcpy(target.mutablePointer, source.pointer, bytes) }
    return 2 * Double(bytes) / seconds
}
