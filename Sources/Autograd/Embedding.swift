internal import CKernels
internal import TensorCore

extension Tape {
    /// Rows of `table` [vocabulary, h] picked by `tokens`: [tokens.count, h].
    ///
    /// - Precondition: every token is a row of the table (data sets are checked when they are read).
    package func embedding(_ tokens: [Int32], table: Variable) -> Variable {
        let y = table.stored.rows(at: tokens)
        let h = y.columns
        let dTable = table.sink
        return record(y, from: [table]) { dy in
            dTable.update { gradient, beta in
                if beta == 0 { gradient.fill(0) }
                let (from, to) = (dy.pointer, gradient.mutablePointer)
                // Tokens may be alike: threads share the columns.
                Team.share((h + 15) / 16, cost: 16 * tokens.count) { columns in
                    let (first, last) = (16 * columns.lowerBound, min(h, 16 * columns.upperBound))
                    for (i, token) in tokens.enumerated() {
                        ck_axpy(1, from + i * h + first, to + Int(token) * h + first, last - first)
                    }
                }
            }
        }
    }
}
