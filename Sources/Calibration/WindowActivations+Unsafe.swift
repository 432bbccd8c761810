package import Support
package import TensorCore

/// Where activations are kept that are used again.
package enum ActivationStorage: Sendable, Equatable {
    case memory
    /// In a file without a name in this folder: memory does not grow with the number of windows.
    case file(folder: String)
}

/// A tensor for each window, or none where tokens enter. The same bits from memory and from a file.
package final class WindowActivations {
    private var held: [Tensor?]
    private let file: ScratchFile?
    /// Of what is in the file.
    private var shapes: [[Int]?]
    /// Bytes that a window has in the file.
    private let stride: Int

    /// - Parameter values: of a window at most.
    package init(count: Int, values: Int, in storage: ActivationStorage) throws(FileError) {
        held = [Tensor?](repeating: nil, count: count)
        shapes = [[Int]?](repeating: nil, count: count)
        stride = MemoryLayout<Float>.stride * values
        switch storage {
        case .memory: file = nil
        case .file(let folder): file = try ScratchFile(folder: folder, bytes: count * stride)
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

    /// Those of several windows, one after the other, or none where tokens enter.
    func tensor(_ places: Range<Int>) throws(FileError) -> Tensor? {
        guard let first = try tensor(places.lowerBound) else { return nil }
        if places.count == 1 { return first }
        var result = Tensor(uninitialized: [places.count * first.rows, first.columns])
        for (index, place) in places.enumerated() {
            guard let tensor = index == 0 ? first : try tensor(place) else { preconditionFailure("window \(place) is missing") }
            Team.copy(tensor.pointer, to: result.mutablePointer + index * first.count, first.count)
        }
        return result
    }

    /// - Parameter tensor: of these windows, one after the other, as many rows of each.
    func set(_ places: Range<Int>, _ tensor: Tensor) throws(FileError) {
        if places.count == 1 { return try set(places.lowerBound, tensor) }
        let rows = tensor.rows / places.count
        for (index, place) in places.enumerated() { try set(place, tensor.rows(index * rows..<(index + 1) * rows)) }
    }

    package func set(_ place: Int, _ tensor: Tensor) throws(FileError) {
        guard let file else {
            held[place] = tensor
            return
        }
        let bytes = UnsafeRawBufferPointer(start: tensor.pointer, count: MemoryLayout<Float>.stride * tensor.count)
        precondition(bytes.count <= stride, "\(tensor.shape) for a window of \(stride) bytes")
        try file.write(bytes, at: place * stride)
        shapes[place] = tensor.shape
    }

    /// Copies stretches of `count` values each of the tensor of a window, one after the other.
    ///
    /// - Parameter stretches: their places, in units of `count` values.
    /// - Precondition: the window has a tensor, and the stretches lie in it.
    package func copy(
        _ stretches: [Int], of place: Int, count: Int, to target: UnsafeMutablePointer<Float>
    ) throws(FileError) {
        let size = MemoryLayout<Float>.stride * count
        for (index, stretch) in stretches.enumerated() {
            let destination = target + index * count
            if let file {
                try file.read(
                    UnsafeMutableRawBufferPointer(start: destination, count: size), at: place * stride + stretch * size)
            } else if let tensor = held[place] {
                destination.update(from: tensor.pointer + stretch * count, count: count)
            } else {
                preconditionFailure("window \(place) has no activations")
            }
        }
    }
}
