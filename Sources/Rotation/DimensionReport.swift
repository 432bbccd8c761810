package import Models

/// What each rotation of a model will be, said before the work starts: sizes, and where no Hadamard matrix of the full size is
/// known, the blocks used instead.
package struct DimensionReport: Sendable {
    package struct Row: Sendable, Equatable {
        package let rotation: String
        package let size: Int
        /// Largest divisor of `size` with a known Hadamard matrix.
        package let block: Int

        package var line: String {
            let kind = block == size ? "one Hadamard matrix" : "block-diagonal, \(size / block) blocks of \(block): no Hadamard matrix of order \(size) is known here"
            return "\(rotation): \(size)×\(size), \(kind)"
        }
    }
    package let rows: [Row]

    package init(_ c: LlamaConfiguration) {
        func row(_ rotation: String, _ n: Int) -> Row {
            Row(rotation: rotation, size: n, block: HadamardOrder.largestBlock(dividing: n).order)
        }
        rows = [
            row("R1 (residual stream)", c.hiddenSize), row("R2 (values, each layer)", c.headDimension),
            row("R3 (queries and keys)", c.headDimension), row("R4 (down projection)", c.intermediateSize),
        ]
    }
}
