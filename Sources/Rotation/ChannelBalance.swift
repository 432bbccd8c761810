internal import Glibc
internal import LinearAlgebra
package import Models
package import Quantization
package import TensorCore

/// Second moments of a block's queries, keys and values, and of the inputs of its output and down projections.
package struct ChannelMoments: Sendable {
    /// E[v·vᵀ] of each head, `[d, d]`; for the output projection's inputs, the same for each query head.
    fileprivate var queries: [Tensor] = []
    fileprivate var keys: [Tensor] = []
    fileprivate var values: [Tensor] = []
    fileprivate var outputs: [Tensor] = []
    /// E[x²] of the down projection's inputs.
    fileprivate var inner: [Double] = []

    package init() {}

    /// Takes the needed moments from the statistics that calibration has gathered at a hook point of the block.
    ///
    /// Queries, keys and values are linear in their inputs x: E[y·yᵀ] = W·E[x·xᵀ]·Wᵀ + (W·E[x])·bᵀ + b·(W·E[x])ᵀ + b·bᵀ.
    package mutating func note(
        _ statistics: InputStatistics, at point: HookPoint, _ group: ParameterGroup<some TensorValue>,
        _ heads: Architecture.Heads?
    ) {
        switch point {
        case .downInput: inner = statistics.meanSquares
        case .outputInput:
            guard let d = heads?.dimension else { return }
            let moment = statistics.moment
            outputs = (0..<moment.rows / d).map { moment.square(at: $0 * d, d) }
        case .attentionInput:
            guard let d = heads?.dimension else { return }
            let (moment, means) = (statistics.moment, Tensor(statistics.means.map { Float($0) }, [1, statistics.width]))
            for index in group.specs.indices where group.specs[index].ports?.reads == .attentionInput {
                let bias = group.biasIndex(of: index).map { group[$0].tensor.elements }
                let made = Self.heads(group[index].tensor, bias, moment, means, d)
                switch group.specs[index].ports?.writes {
                case .query: queries = made
                case .key: keys = made
                case .value: values = made
                default: break
                }
            }
        default: break
        }
    }

    private static func heads(_ weight: Tensor, _ bias: [Float]?, _ moment: Tensor, _ means: Tensor, _ d: Int) -> [Tensor] {
        let means = matmul(means, .asStored, weight, .transposed).elements
        return (0..<weight.rows / d).map { head in
            let rows = weight.rows(head * d..<(head + 1) * d)
            var result = matmul(matmul(rows, .asStored, moment), .asStored, rows, .transposed)
            guard let bias else { return result }
            let target = result.mutablePointer
            for i in 0..<d {
                for j in 0..<d {
                    let (a, b) = (head * d + i, head * d + j)
                    target[i * d + j] += means[a] * bias[b] + bias[a] * means[b] + bias[a] * bias[b]
                }
            }
            return result
        }
    }
}

/// Changes of a block that leave its function unchanged and balance the cost of rounding (ours).
///
/// A group of values that is spread by a Hadamard matrix and rounded has an error that is a fixed share of E‖x‖², equal in all
/// directions. If x is first multiplied by an invertible A and the next layer by A⁻¹, the error of the layer's output is
/// proportional to tr(A·S·Aᵀ)·tr(A⁻ᵀ·G·A⁻¹), S = E[x·xᵀ], G = WᵀW. It is least for AᵀA = S^-½·(S^½·G·S^½)^½·S^-½, the geometric
/// mean of S⁻¹ and G: (tr (S^½·G·S^½)^½)² instead of tr S·tr G. Such an A costs nothing in three places:
/// - values, per key-value head: W_v ← A·W_v, W_o ← W_o·A⁻¹ per query head;
/// - the down projection's inputs, A diagonal: s_j = √(‖W_j‖/rms x_j) multiplies the rows of the layer that computes them;
/// - queries and keys, one factor for the two channels that the rotary embedding turns into each other: k·s, q/s with
///   s² = rms q/rms k.
package struct ChannelBalance: Sendable {
    /// The least strength of a channel, as a share of the mean; weaker channels count as this strong.
    private static let least = 1e-3

    /// A and its inverse, symmetric, by key-value head; none where a head's values or weights are 0.
    private let values: [(a: Tensor, inverse: Tensor)?]
    /// Factors of the down projection's inputs; empty where the layer that makes them cannot be scaled.
    private let inner: [Float]
    /// Factors of the keys, by row of their projection; empty where keys cannot be scaled.
    private let keys: [Float]

    /// - Throws: `LAPACKError`.
    package init(
        _ moments: ChannelMoments, _ group: ParameterGroup<some TensorValue>, _ block: Architecture.Block
    ) throws {
        func reader(of point: HookPoint) -> Tensor? {
            group.specs.firstIndex { $0.ports?.reads == point }.map { group[$0].tensor }
        }
        if let heads = block.heads, let output = reader(of: .outputInput), !moments.values.isEmpty, !moments.outputs.isEmpty {
            let (d, shared) = (heads.dimension, heads.query / heads.keyValue)
            values = try moments.values.indices.map { head in
                let queries = head * shared..<(head + 1) * shared
                var read = Tensor(zeros: [d, d])
                var weight = Tensor(zeros: [d, d])
                for query in queries {
                    read.add(moments.outputs[query])
                    let columns = output.columns(query * d..<(query + 1) * d)
                    weight.add(matmul(columns, .transposed, columns))
                }
                return try Self.middle(of: [moments.values[head], read], weight)
            }
        } else {
            values = []
        }
        if block.innerProducer != nil, let down = reader(of: .downInput), !moments.inner.isEmpty {
            inner = Self.middle(moments.inner, down.columnSquares).map { Float($0.squareRoot().squareRoot()) }
        } else {
            inner = []
        }
        keys =
            block.scalesKeys && !moments.keys.isEmpty && !moments.queries.isEmpty
            ? Self.keyScales(moments.queries, moments.keys) : []
    }

    /// b/a for two lists of mean squares, entry by entry, with a geometric mean of 1.
    private static func middle(_ a: [Double], _ b: [Double]) -> [Double] {
        let floors = [a, b].map { least * least * $0.reduce(0, +) / Double(max(1, $0.count)) }
        guard floors.allSatisfy({ $0 > 0 && $0.isFinite }) else { return a.map { _ in 1 } }
        let logarithms = zip(a, b).map { log(max($1, floors[1])) - log(max($0, floors[0])) }
        let mean = logarithms.reduce(0, +) / Double(logarithms.count)
        return logarithms.map { exp($0 - mean) }
    }

    private static func keyScales(_ queries: [Tensor], _ keys: [Tensor]) -> [Float] {
        let shared = queries.count / keys.count
        return keys.indices.flatMap { head -> [Float] in
            let half = keys[head].rows / 2
            func pairs(_ moments: some Sequence<Tensor>) -> [Double] {
                (0..<half).map { j in moments.reduce(0) { $0 + Double($1[j, j]) + Double($1[j + half, j + half]) } }
            }
            let scales = middle(pairs([keys[head]]), pairs(queries[head * shared..<(head + 1) * shared]))
                .map { Float($0.squareRoot().squareRoot()) }
            return scales + scales
        }
    }

    /// A = (S^-½·(S^½·G·S^½)^½·S^-½)^½ of determinant 1 and its inverse, S the mean of `moments`, each by its trace.
    private static func middle(of moments: [Tensor], _ weight: Tensor) throws -> (a: Tensor, inverse: Tensor)? {
        let parts = (moments + [weight]).compactMap(\.withUnitTrace)
        guard parts.count == moments.count + 1, let gram = parts.last else { return nil }
        var sum = Tensor(zeros: gram.shape)
        for part in parts.dropLast() { sum.add(part) }
        guard let moment = sum.withUnitTrace else { return nil }
        let roots = try SymmetricPowers(moment.damped(by: least))
        let (root, inverse) = (roots.power(0.5), roots.power(-0.5))
        let product = matmul(matmul(root, .asStored, gram.damped(by: least)), .asStored, root)
        let between = try SymmetricPowers(product).power(0.5)
        let powers = try SymmetricPowers(matmul(matmul(inverse, .asStored, between), .asStored, inverse))
        return (powers.power(0.5, unitDeterminant: true), powers.power(-0.5, unitDeterminant: true))
    }
}

// MARK: - Changing a block

extension ChannelBalance {
    /// The changed block.
    package func applied<Value: TensorValue>(
        to group: ParameterGroup<Value>, _ block: Architecture.Block
    ) -> ParameterGroup<Value> {
        var result = group
        func scaleRows(_ index: Int, by factors: [Float]) {
            for place in [index, group.biasIndex(of: index)].compactMap(\.self) {
                result[place] = result[place].mapped { $0.scaleRows(by: factors) }
            }
        }
        for index in group.specs.indices {
            guard let ports = group.specs[index].ports else { continue }
            if !inner.isEmpty, group.specs[index].name == block.innerProducer { scaleRows(index, by: inner) }
            if !inner.isEmpty, ports.reads == .downInput {
                let inverse = inner.map { 1 / $0 }
                result[index] = result[index].mapped { $0.scaleColumns(by: inverse) }
            }
            if !keys.isEmpty, ports.writes == .key { scaleRows(index, by: keys) }
            if !keys.isEmpty, ports.writes == .query, let heads = block.heads { scaleRows(index, by: queries(heads)) }
            if ports.writes == .value {
                let changes = values.map { $0?.a }
                for place in [index, group.biasIndex(of: index)].compactMap(\.self) {
                    result[place] = result[place].mapped { $0.changeRowBlocks(by: changes) }
                }
            }
            if ports.reads == .outputInput, let heads = block.heads, !values.isEmpty {
                let shared = heads.query / heads.keyValue
                let changes = (0..<heads.query).map { values[$0 / shared]?.inverse }
                result[index] = result[index].mapped {
                    var transposed = $0.transposed()
                    transposed.changeRowBlocks(by: changes)
                    $0 = transposed.transposed()
                }
            }
        }
        return result
    }

    /// Factors of the queries: the inverse factors of each query head's key head.
    private func queries(_ heads: Architecture.Heads) -> [Float] {
        let (d, shared) = (heads.dimension, heads.query / heads.keyValue)
        return (0..<heads.query * d).map { 1 / keys[$0 / d / shared * d + $0 % d] }
    }
}

extension Parameters {
    /// The stage with these blocks changed, by their place in the model.
    package consuming func balanced(
        by balances: [Int: ChannelBalance], _ architecture: Architecture
    ) -> Self where Value: TensorValue {
        for index in blocks.indices {
            let place = firstBlock + index
            guard let balance = balances[place] else { continue }
            blocks[index] = balance.applied(to: blocks[index], architecture.blocks[place])
        }
        return self
    }
}

// MARK: - Small matrices

/// The eigenvectors of a symmetric matrix without negative eigenvalues.
private struct SymmetricPowers {
    private let vectors: Tensor
    private let values: [Double]

    init(_ matrix: Tensor) throws(LAPACKError) {
        var symmetric = matrix.transposed()
        symmetric.add(matrix)
        symmetric.scale(by: 0.5)
        let decomposition = try SingularValueDecomposition(inDoublePrecision: symmetric)
        vectors = decomposition.u
        let least = 1e-12 * Double(decomposition.values.first ?? 0)
        values = decomposition.values.map { max(Double($0), least) }
    }

    /// - Parameter unitDeterminant: whether eigenvalues are divided by their geometric mean.
    func power(_ exponent: Double, unitDeterminant: Bool = false) -> Tensor {
        let mean = unitDeterminant ? values.reduce(0) { $0 + log($1) } / Double(values.count) : 0
        var scaled = vectors.copy()
        scaled.scaleColumns(by: values.map { Float(exp(exponent * (log($0) - mean))) })
        return matmul(scaled, .asStored, vectors, .transposed)
    }
}

extension InputStatistics {
    /// E[x·xᵀ], `[width, width]`.
    fileprivate var moment: Tensor {
        var result = Tensor(uninitialized: [width, width])
        let (target, count) = (result.mutablePointer, Double(rows))
        for i in 0..<width {
            let row = productRow(i)
            for j in 0...i {
                let value = Float(row[j] / count)
                target[i * width + j] = value
                target[j * width + i] = value
            }
        }
        return result
    }
}

extension Tensor {
    /// The matrix divided by the mean of its diagonal; nil where that is not a positive number.
    fileprivate var withUnitTrace: Tensor? {
        let mean = (0..<rows).reduce(0.0) { $0 + Double(self[$1, $1]) } / Double(max(1, rows))
        guard mean > 0, mean.isFinite, Float(1 / mean).isFinite else { return nil }
        var result = copy()
        result.scale(by: Float(1 / mean))
        return result
    }

    fileprivate func damped(by share: Double) -> Tensor {
        var result = copy()
        for i in 0..<rows { result.mutablePointer[i * (rows + 1)] += Float(share) }
        return result
    }

    /// Rows and columns `first..<first + size`.
    fileprivate func square(at first: Int, _ size: Int) -> Tensor {
        rows(first..<first + size).columns(first..<first + size)
    }

    fileprivate func columns(_ range: Range<Int>) -> Tensor {
        Tensor((0..<rows).flatMap { row in range.map { self[row, $0] } }, [rows, range.count])
    }

    fileprivate var columnSquares: [Double] {
        var sums = [Double](repeating: 0, count: columns)
        withElements { elements in
            for (place, value) in elements.enumerated() { sums[place % columns] += Double(value) * Double(value) }
        }
        return sums
    }

    /// Multiplies each row of a matrix, or each element of a vector, by its factor.
    fileprivate mutating func scaleRows(by factors: [Float]) {
        let (target, width) = (mutablePointer, count / factors.count)
        for (row, factor) in factors.enumerated() { for j in 0..<width { target[row * width + j] *= factor } }
    }

    fileprivate mutating func scaleColumns(by factors: [Float]) {
        let (target, width) = (mutablePointer, factors.count)
        for place in 0..<count { target[place] *= factors[place % width] }
    }

    /// Each block of d rows, or of a vector's elements, multiplied by its matrix.
    fileprivate mutating func changeRowBlocks(by changes: [Tensor?]) {
        let (width, height) = (shape.count == 1 ? 1 : columns, shape[0] / max(1, changes.count))
        let matrix = reshaped([shape[0], width])
        let target = mutablePointer
        for (block, change) in changes.enumerated() {
            guard let change else { continue }
            let product = matmul(change, .asStored, matrix.rows(block * height..<(block + 1) * height))
            (target + block * height * width).update(from: product.pointer, count: product.count)
        }
    }
}
