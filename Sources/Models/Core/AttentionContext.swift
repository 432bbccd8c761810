package import Autograd

/// How the rows of a batch relate: their positions, and which of them attend to which.
package protocol AttentionContext {
    /// The position in its sequence of each of so many rows, counted from 0.
    func positions(rows: Int) -> [Int32]
    func rotate(_ x: Variable, _ table: RotaryTable, on tape: Tape) -> Variable
    func attend(
        _ q: Variable, _ k: Variable, _ v: Variable, block: Int, _ heads: Architecture.Heads, on tape: Tape
    ) -> Variable
}

/// Whole sequences of equal length, one after the other.
package struct CausalBatch: AttentionContext {
    package let sequences: Int
    package let length: Int

    package init(sequences: Int, length: Int) {
        self.sequences = sequences
        self.length = length
    }

    /// 0, 1, …, length − 1, again for each sequence.
    package func positions(rows: Int) -> [Int32] { (0..<rows).map { Int32($0 % length) } }

    /// The rotary embedding of whole sequences: each begins at position 0.
    package func rotate(_ x: Variable, _ table: RotaryTable, on tape: Tape) -> Variable {
        tape.rotary(x, table, length: length)
    }

    /// Causal attention within each sequence: q `[rows, heads·d]`, k and v `[rows, keyValueHeads·d]` give `[rows, heads·d]`.
    package func attend(
        _ q: Variable, _ k: Variable, _ v: Variable, block: Int, _ heads: Architecture.Heads, on tape: Tape
    ) -> Variable {
        tape.causalAttention(
            q, k, v,
            AttentionShape(
                sequences: sequences, length: length, heads: heads.query, keyValueHeads: heads.keyValue,
                headDimension: heads.dimension, window: heads.window))
    }
}
