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

/// Elements that are 0 in `written` alone: of a magnitude that its type does not hold. - Precondition: equal counts.
func lostElements(_ original: Tensor, written: Tensor) -> Int {
    precondition(original.count == written.count, "\(original.shape) against \(written.shape)")
    let (x, y) = (original.pointer, written.pointer)
    return (0..<original.count).reduce(0) { $0 + (y[$1] == 0 && x[$1] != 0 ? 1 : 0) }
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
