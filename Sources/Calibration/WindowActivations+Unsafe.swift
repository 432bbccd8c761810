package import Support
internal import TensorCore

/// Where a calibration keeps the inputs of a block.
package enum ActivationStorage: Sendable, Equatable {
    case memory
    /// In a file without a name in this folder: memory does not grow with the number of windows.
    case file(folder: String)
}

/// A tensor for each window, or none where tokens enter. The same bits from memory and from a file.
final class WindowActivations {
    private var held: [Tensor?]
    private let file: ScratchFile?
    /// Of what is in the file.
    private var shapes: [[Int]?]
    /// Bytes that a window has in the file.
    private let stride: Int

    /// - Parameter values: of a window at most.
    init(count: Int, values: Int, in storage: ActivationStorage) throws(FileError) {
        held = [Tensor?](repeating: nil, count: count)
        shapes = [[Int]?](repeating: nil, count: count)
        stride = MemoryLayout<Float>.stride * values
        switch storage {
        case .memory: file = nil
        case .file(let folder): file = try ScratchFile(folder: folder)
        }
    }

    var count: Int { held.count }

    func tensor(_ place: Int) throws(FileError) -> Tensor? {
        guard let file else { return held[place] }
        guard let shape = shapes[place] else { return nil }
        var result = Tensor(uninitialized: shape)
        let bytes = UnsafeMutableRawBufferPointer(
            start: result.mutablePointer, count: MemoryLayout<Float>.stride * result.count)
        try file.read(bytes, at: place * stride)
        return result
    }

    func set(_ place: Int, _ tensor: Tensor) throws(FileError) {
        guard let file else {
            held[place] = tensor
            return
        }
        let bytes = UnsafeRawBufferPointer(start: tensor.pointer, count: MemoryLayout<Float>.stride * tensor.count)
        precondition(bytes.count <= stride, "\(tensor.shape) for a window of \(stride) bytes")
        try file.write(bytes, at: place * stride)
        shapes[place] = tensor.shape
    }
}
