package import Models

/// A description of a model's rotations for the user before the work starts: sizes and, where no Hadamard matrix of the full
/// size is known, the blocks used instead.
package struct DimensionReport: Sendable {
    /// A rotation, its size, and how its random Hadamard is composed.
    package struct Row: Sendable, Equatable {
        package let rotation: String
        package let size: Int
        /// Largest divisor of `size` with a known Hadamard matrix.
        package let block: Int

        package var line: String {
            let kind =
                block == size
                ? "one Hadamard matrix"
                : "block-diagonal, \(size / block) blocks of \(block): no Hadamard matrix of order \(size) is known here"
            return "\(rotation): \(size)×\(size), \(kind)"
        }
    }
    package let rows: [Row]

    /// A report of the rotations in use.
    package init(_ architecture: Architecture, merged: Rotations, online: OnlineRotations) {
        func row(_ rotation: String, _ n: Int) -> Row? {
            n == 0 ? nil : Row(rotation: rotation, size: n, block: HadamardOrder.largestBlock(dividing: n).order)
        }
        let head = architecture.headDimension ?? 0
        rows = [
            merged.r1.flatMap { _ in row("R1 (residual stream)", architecture.hiddenSize) },
            merged.r2.flatMap { _ in row("R2 (values, each layer)", head) },
            online.r3.flatMap { _ in row("R3 (queries and keys)", head) },
            online.r4.flatMap { _ in row("R4 (down projection)", architecture.downWidth) },
        ].compactMap(\.self)
    }
}
