internal import Glibc
internal import LinearAlgebra
package import Models
package import TensorCore

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

    private let names: (embedding: String, head: String)
    private let embedding: Tensor
    private let head: Tensor
    /// [2·references, h]: some rows of both.
    private let references: Tensor

    /// - Parameters:
    ///   - parameters: of a whole model that starts from tokens.
    ///   - architecture: the model's.
    package init(_ parameters: Parameters<Tensor>, _ architecture: Architecture) {
        guard let table = parameters.entry.index(.embedding) else { preconditionFailure("no tokens enter this model") }
        // A mean that all norms take away is nothing to the model.
        let embedding =
            architecture.takesMeans && architecture.rotatability == .rotatable
            ? parameters.entry[table].lessRowMeans : parameters.entry[table]
        var head = parameters.logitWeight.copy()
        let (target, h) = (head.mutablePointer, head.columns)
        for rule in architecture.norms where rule.output == .headInput {
            guard let gain = rule.gain.map({ parameters.exit.required($0).pointer }) else { continue }
            for row in 0..<head.rows { for j in 0..<h { target[row * h + j] *= gain[j] } }
        }
        let count = min(embedding.rows, 64)
        let chosen = (0..<count).map { $0 * embedding.rows / count }
        var references = Tensor(uninitialized: [2 * count, h])
        for (index, row) in chosen.enumerated() {
            (references.mutablePointer + index * h).update(from: embedding.pointer + row * h, count: h)
            (references.mutablePointer + (count + index) * h).update(from: head.pointer + row * h, count: h)
        }
        names = (parameters.entry.specs[table].name, architecture.head.name)
        (self.embedding, self.head, self.references) = (embedding, head, references)
    }

    /// - Parameters:
    ///   - other: of a model with as many tokens.
    ///   - tolerance: up to which a row counts as the same.
    package func differences(from other: TokenRows, tolerance: Double) -> [Difference] {
        let all = Array(0..<references.rows)
        // A reference that differs itself would change a product of every row, so that none could be named.
        let changes = products(references, other.references, other.references, columns: all)
        let sound = all.filter { median(changes[$0]) <= tolerance }
        // Where few agree the models have nothing in common, and all are as good.
        let columns = 2 * sound.count < all.count ? all : sound
        return [
            difference(names.embedding, embedding, other.embedding, other.references, columns, tolerance),
            difference(names.head, head, other.head, other.references, columns, tolerance),
        ]
    }

    private func difference(
        _ name: String, _ a: Tensor, _ b: Tensor, _ referencesOfB: Tensor, _ columns: [Int], _ tolerance: Double
    ) -> Difference {
        var (largest, differing): (Double, [(token: Int, change: Double)]) = (0, [])
        let chunk = 2048
        for first in stride(from: 0, to: a.rows, by: chunk) {
            let rows = first..<min(first + chunk, a.rows)
            for (row, changes) in zip(rows, products(a.rows(rows), b.rows(rows), referencesOfB, columns: columns)) {
                let change = changes.max() ?? 0
                largest = max(largest, change)
                if change > tolerance { differing.append((row, change)) }
            }
        }
        let tokens = differing.sorted { ($1.change, $0.token) < ($0.change, $1.token) }.map(\.token)
        return Difference(tensor: name, largest: largest, tokens: tokens)
    }

    /// For every row, how much its length and its products with the references (those of `columns`) differ between two models,
    /// relative to the lengths; what is not a number counts as infinite.
    private func products(_ a: Tensor, _ b: Tensor, _ referencesOfB: Tensor, columns: [Int]) -> [[Double]] {
        let (lengthsA, lengthsB, scales) = (lengths(a), lengths(b), lengths(references))
        let x = matmul(a, .asStored, references, .transposed)
        let y = matmul(b, .asStored, referencesOfB, .transposed)
        return (0..<a.rows).map { row in
            let scale = max(lengthsA[row], lengthsB[row])
            guard scale != 0 else { return [0] }
            var changes = columns.map { column in
                let change = abs(Double(x[row, column]) - Double(y[row, column]))
                return change / (scale * (scales[column] == 0 ? 1 : scales[column]))
            }
            changes.append(abs(lengthsA[row] - lengthsB[row]) / scale)
            return changes.map { $0.isNaN ? .infinity : $0 }
        }
    }

    private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    private func lengths(_ x: Tensor) -> [Double] {
        let (source, columns) = (x.pointer, x.columns)
        return (0..<x.rows).map { row in
            var sum = 0.0
            for j in 0..<columns { sum += Double(source[row * columns + j]) * Double(source[row * columns + j]) }
            return sum.squareRoot()
        }
    }
}

extension Tensor {
    /// Each row less its mean.
    fileprivate var lessRowMeans: Tensor {
        var result = copy()
        let (target, columns) = (result.mutablePointer, columns)
        for row in stride(from: 0, to: count, by: columns) {
            let mean = Float((row..<row + columns).reduce(0.0) { $0 + Double(target[$1]) } / Double(columns))
            for j in row..<row + columns { target[j] -= mean }
        }
        return result
    }
}
