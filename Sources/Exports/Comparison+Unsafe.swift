internal import Glibc
internal import Support
internal import TensorCore

/// The first element that is not the same number in both; nil where all are. - Precondition: equal counts.
func firstDifference(_ a: Tensor, _ b: Tensor) -> Int? {
    precondition(a.count == b.count, "\(a.shape) against \(b.shape)")
    let (x, y) = (a.pointer, b.pointer)
    for index in 0..<a.count where x[index] != y[index] { return index }
    return nil
}

/// Elements that are 0 in `written` alone, as all of their block: of a magnitude that its type, or that of the block's scale,
/// does not hold.
///
/// - Precondition: equal counts, of whole blocks.
func lostElements(_ original: Tensor, written: Tensor, block: Int = 1) -> Int {
    precondition(original.count == written.count, "\(original.shape) against \(written.shape)")
    let (x, y) = (original.pointer, written.pointer)
    return stride(from: 0, to: original.count, by: block).reduce(0) { lost, first in
        let places = first..<first + block
        return places.contains { y[$0] != 0 } ? lost : lost + places.count { x[$0] != 0 }
    }
}

/// Bytes of a file.
func bytes(at path: String) -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { return 0 }
    return Int(status.st_size)
}

/// Bytes of the files in a folder.
func bytes(inFolder path: String) throws(FileError) -> Int {
    try entries(ofFolder: path).reduce(0) { $0 + bytes(at: path + "/" + $1) }
}
