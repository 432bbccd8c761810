internal import HuggingFace
internal import LinearAlgebra
internal import Support
internal import TensorCore

/// A matrix of a checkpoint that stays in its file: read, as float32, at each use.
///
/// What has been read before is in the system's page cache as long as memory is left, so that a model that fits costs the
/// widening of its elements, and one that does not fit is read again.
struct FileMatrix: LinearOperator {
    let shape: [Int]
    private let checkpoint: Checkpoint
    private let name: String

    /// Elements looked at together.
    private static let block = 1 << 22

    /// Reads the matrix once, to find what would end a computation in the middle.
    ///
    /// - Throws: ``FileError`` for a tensor of another shape, or one with values that are not finite.
    init(_ name: String, _ shape: [Int], of checkpoint: Checkpoint) throws(FileError) {
        (self.name, self.shape, self.checkpoint) = (name, shape, checkpoint)
        let found = try checkpoint.info(name).shape
        guard found == shape, shape.count == 2 else {
            throw FileError(
                .malformed, "\(checkpoint.folder): tensor \(name)", "has shape \(found); the configuration says \(shape)")
        }
        let step = max(1, Self.block / max(1, shape[1]))
        for first in stride(from: 0, to: shape[0], by: step) {
            _ = try checkpoint.read(name, rows: first..<min(first + step, shape[0]))
        }
    }

    var isResident: Bool { false }
    var byteCount: Int { (try? checkpoint.info(name).byteRange.count) ?? 0 }
    var tensor: Tensor { read(0..<shape[0]) }

    func product(_ x: Tensor) -> Tensor { matmul(x, .asStored, tensor, .transposed) }

    func rows(at indices: [Int32]) -> Tensor {
        var result = Tensor(uninitialized: [indices.count, shape[1]])
        let target = result.mutablePointer
        for (place, index) in indices.enumerated() {
            let row = read(Int(index)..<Int(index) + 1)
            (target + place * shape[1]).update(from: row.pointer, count: shape[1])
        }
        return result
    }

    /// A file that was good when it was opened, and can no longer be read, ends the process: nothing is computed with anything
    /// else.
    private func read(_ rows: Range<Int>) -> Tensor {
        do throws(FileError) { return try checkpoint.read(name, rows: rows) } catch { error.endProcess() }
    }
}
