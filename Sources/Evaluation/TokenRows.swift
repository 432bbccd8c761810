internal import LinearAlgebra
package import Models
package import TensorCore

#if canImport(Glibc)
    internal import Glibc
#endif

/// The rows that a model has for every token, compared with another's where an orthogonal R1 may stand between the two.
///
/// Rotating the residual stream turns the embedding's rows e and, once the last norm's gain γ is folded in, the head's rows
/// h∘γ by the same R1 (SpinQuant, arXiv 2405.16406, section 3.1). Their lengths and all products ⟨e, e'⟩, ⟨e, h'⟩ and ⟨h, h'⟩
/// stay, and nothing else does: any other change of a row shows in them.
package struct TokenRows {
    /// One matrix's rows compared.
    package struct Difference: Sendable {
        package let tensor: String
        /// Largest difference of a row's length, or of its product with a row of either matrix, relative to the rows' lengths.
        package let largest: Double
        /// The tokens whose rows differ by more than the tolerance, the worst first.
        package let tokens: [Int]
    }

    private let embedding: Tensor
    private let head: Tensor
    /// [2·references, h]: some rows of both.
    private let references: Tensor

    /// - Parameter parameters: of a whole model.
    package init(_ parameters: LlamaParameters<Tensor>) {
        guard let embedding = parameters.embedding, let norm = parameters.norm else { preconditionFailure("not a whole model") }
        self.embedding = embedding
        var head = parameters.logitWeight.copy()
        let (target, gain, h) = (head.mutablePointer, norm.pointer, head.columns)
        for row in 0..<head.rows { for j in 0..<h { target[row * h + j] *= gain[j] } }
        self.head = head
        let count = min(embedding.rows, 64)
        let chosen = (0..<count).map { $0 * embedding.rows / count }
        var references = Tensor(uninitialized: [2 * count, h])
        for (index, row) in chosen.enumerated() {
            (references.mutablePointer + index * h).update(from: embedding.pointer + row * h, count: h)
            (references.mutablePointer + (count + index) * h).update(from: head.pointer + row * h, count: h)
        }
        self.references = references
    }

    /// - Parameters:
    ///   - other: of a model with as many tokens.
    ///   - tolerance: up to which a row counts as the same.
    package func differences(from other: TokenRows, tolerance: Double) -> [Difference] {
        [
            difference("model.embed_tokens.weight", embedding, other.embedding, other.references, tolerance),
            difference("lm_head.weight", head, other.head, other.references, tolerance),
        ]
    }

    private func difference(
        _ name: String, _ a: Tensor, _ b: Tensor, _ referencesOfB: Tensor, _ tolerance: Double
    ) -> Difference {
        let (lengthsA, lengthsB, columns) = (lengths(a), lengths(b), lengths(references))
        var (largest, differing): (Double, [(token: Int, typical: Double)]) = (0, [])
        let chunk = 2048
        for first in stride(from: 0, to: a.rows, by: chunk) {
            let rows = first..<min(first + chunk, a.rows)
            let x = matmul(a.rows(rows), .asStored, references, .transposed)
            let y = matmul(b.rows(rows), .asStored, referencesOfB, .transposed)
            for row in rows {
                let scale = max(lengthsA[row], lengthsB[row])
                guard scale != 0 else { continue }
                var found = columns.indices.map { column in
                    abs(Double(x[row - first, column]) - Double(y[row - first, column]))
                        / (scale * (columns[column] == 0 ? 1 : columns[column]))
                }
                found.append(abs(lengthsA[row] - lengthsB[row]) / scale)
                // NaN is a difference.
                let worst = found.contains { $0.isNaN } ? .infinity : found.max() ?? 0
                largest = max(largest, worst)
                // A reference that differs spoils one product of every row; a row that differs, most of its own.
                if worst > tolerance { differing.append((row, found.sorted()[found.count / 2])) }
            }
        }
        let own = differing.filter { $0.typical > tolerance }
        let tokens = (own.isEmpty ? differing : own).sorted { ($1.typical, $0.token) < ($0.typical, $1.token) }.map(\.token)
        return Difference(tensor: name, largest: largest, tokens: tokens)
    }

    private func lengths(_ x: Tensor) -> [Double] {
        let (source, columns) = (x.pointer, x.columns)
        return (0..<x.rows).map { row in
            var sum = 0.0
            for j in 0..<columns { sum += Double(source[row * columns + j]) * Double(source[row * columns + j]) }
            return sum.squareRoot()
        }
    }
}
