internal import CKernels
internal import LinearAlgebra
internal import Support
package import TensorCore

/// Columns are rounded one after the other, and the error of each is compensated in the remaining columns, so that ‖(W − Ŵ)·X‖²
/// stays small (Frantar et al., arXiv 2210.17323).
///
/// H = E[x·xᵀ] with `damping` times its mean diagonal added; columns whose input is always 0 become 0. A kernel rounds blocks
/// of 128 columns, and one product carries their errors to the rest of the weight. Cost: out·in² multiply-adds, and in³/3 for
/// the factorization, which weights with the same inputs share. Ranges of groups of g columns take out·in·g/2 more.
package struct GPTQ: WeightQuantization {
    package static let name = "gptq"
    package static let label = "GPTQ"
    package static let isTried = true

    /// When the range of a group is taken from the running weights, unless it is taken before any column is rounded.
    ///
    /// Running weights are the best real values of the remaining columns once some columns are rounded: the W of the paper, to
    /// which each rounded column adds −e_i·U_ik.
    package enum GroupRanges: Sendable {
        /// When all columns before the group are rounded, as in the paper.
        case compensated
        /// When the columns before the block of 128 in which the group begins are rounded, as in published programs.
        case blockStart
    }

    package var inputs: InputStatistics.Depth? { compensation > 0 ? .deviation : .secondMoment }
    /// The fraction of H's mean diagonal that is added to the diagonal.
    package var damping = 0.01
    /// Whether columns with the largest inputs are rounded first (activation order).
    package var byActivation = false
    /// Whether groups are neighboring columns as stored, with ranges taken from the original weight. Otherwise groups are
    /// neighbors in the order of rounding: see ``QuantizedWeight/columnGroups``.
    package var staticGroups = false
    package var groupRanges = GroupRanges.compensated
    /// The fraction of the change that rounding causes in the inputs, in this layer and before, that the weights compensate
    /// before they are rounded: see `InputCompensation`.
    package var compensation = 0.0

    package init(
        damping: Double = 0.01, byActivation: Bool = false, staticGroups: Bool = false,
        groupRanges: GroupRanges = .compensated, compensation: Double = 0
    ) {
        precondition(damping >= 0 && compensation >= 0, "a damping of \(damping), a compensation of \(compensation)")
        (self.damping, self.byActivation, self.compensation) = (damping, byActivation, compensation)
        (self.staticGroups, self.groupRanges) = (staticGroups, groupRanges)
    }

    /// For each row half a product with the n×n factor; n³ for the factor. Compensation of inputs takes a product and two half
    /// products in double precision for each row, and another factor. The running weights of each group but the first take half
    /// a product with a g×g part of the factor for each row.
    package func cost(rows: Int, columns: Int, _ granularity: QuantizerGranularity) -> WeightQuantizationCost {
        let (m, n) = (Double(rows), Double(columns))
        var cost = WeightQuantizationCost(products: m * n * n, solves: n * n * n)
        if compensation > 0 { cost = WeightQuantizationCost(products: 9 * m * n * n, solves: 2 * n * n * n) }
        switch granularity {
        case .group(let size), .head(let size):
            let running = Double(groupRanges == .blockStart ? max(size, Self.block) : size)
            if !staticGroups { cost.products += m * running * max(0, n - running) }
        case .tensor, .channel, .column, .token: break
        }
        return cost
    }

    /// Columns that are rounded before their errors are carried to the remaining columns.
    fileprivate static let block = 128

    /// Codes chosen column by column, each column's error added to the later ones by H⁻¹.
    package func quantize(
        _ weights: [Tensor], _ statistics: InputStatistics?, _ quantizer: WeightQuantizer
    ) throws -> [QuantizedWeight] {
        try check(weights, quantizer.spec)
        guard let statistics else { throw QuantizationError.noInputs }
        precondition(
            statistics.depth >= .secondMoment && weights.allSatisfy { $0.columns == statistics.width },
            "second moments of \(statistics.width) inputs for weights \(weights.map(\.shape))")
        if quantizer.spec.granularity == .column { throw QuantizationError.granularity(method: name, "column") }
        let factor = try GPTQFactor(statistics, damping: damping, byActivation: byActivation)
        let compensation = try self.compensation > 0 ? InputCompensation(statistics, damping: damping) : nil
        let targets = try weights.map { try compensation?.applied(to: $0, part: self.compensation) ?? $0 }
        return targets.map { weight in
            var rounding = GPTQRounding(weight, self, factor, quantizer)
            return rounding.run()
        }
    }
}

/// The rounding of one weight. Columns are counted in the order of rounding. The weight is transposed, so that each column is
/// contiguous.
private struct GPTQRounding {
    private let method: GPTQ
    private let factor: GPTQFactor
    private let quantizer: WeightQuantizer
    /// Columns of a group; nil where a row, or the whole weight, is one group.
    private let groupSize: Int?
    /// The weight, 0 where the input is dead, `[in, out]`.
    private let original: Tensor
    /// The same, with the errors of the rounded columns added.
    private var weights: Tensor
    /// Scales, a row of `out` values per group.
    private var scales: Tensor
    private var zeros: Tensor
    /// Each column's group.
    private let groups: [Int32]
    /// Codes `[in, out]`, in the weight's column order.
    private let codes: CodeBuffer
    /// w° − ŵ of the columns of a block, `[128, out]`.
    private var errors: Tensor

    private var out: Int { original.columns }
    private var columns: Int { original.rows }
    private static let block = GPTQ.block
    private static let segment = Int(CK_GPTQ_COLUMNS)

    init(_ weight: Tensor, _ method: GPTQ, _ factor: GPTQFactor, _ quantizer: WeightQuantizer) {
        let (out, columns) = (weight.rows, weight.columns)
        (self.method, self.factor, self.quantizer) = (method, factor, quantizer)
        switch quantizer.spec.granularity {
        case .group(let size), .head(let size): groupSize = size
        case .tensor, .channel, .column, .token: groupSize = nil
        }
        let size = groupSize ?? columns
        let isStatic = method.staticGroups
        groups = (0..<columns).map { Int32((isStatic ? Int(factor.order[$0]) : $0) / size) }
        (scales, zeros) = (Tensor(uninitialized: [columns / size, out]), Tensor(uninitialized: [columns / size, out]))
        codes = CodeBuffer(rows: columns, columns: out)
        errors = Tensor(uninitialized: [Self.block, out])
        var transposed = weight.transposed()
        for j in 0..<columns where factor.isDead[j] { (transposed.mutablePointer + j * out).update(repeating: 0, count: out) }
        original = method.byActivation ? Self.reordered(transposed, factor.order) : transposed
        weights = original
        if groupSize == nil {
            // From the given weight: dead columns, which are rounded to 0, count too, as in published programs.
            setGrids(0, of: weight)
        } else if isStatic {
            for group in 0..<columns / size {
                setGrids(group, of: transposed.rows(group * size..<(group + 1) * size).transposed())
            }
        }
    }

    mutating func run() -> QuantizedWeight {
        for block in blocks {
            if method.groupRanges == .blockStart { setGrids(in: block) }
            for segment in segments(of: block) {
                if method.groupRanges == .compensated { setGrids(in: segment.lowerBound..<segment.lowerBound + 1) }
                let place = segment.lowerBound - block.lowerBound
                round(segment, errorsAt: place)
                compensate(segment.upperBound..<block.upperBound, for: segment, errorsAt: place)
            }
            compensate(block.upperBound..<columns, for: block, errorsAt: 0)
        }
        let isTensor = quantizer.spec.granularity == .tensor
        return QuantizedWeight(
            codes: codes.transposed(), scales: isTensor ? scales.slice(0..<1) : scales.transposed(),
            zeros: isTensor ? zeros.slice(0..<1) : zeros.transposed(), shape: [out, columns], spec: quantizer.spec,
            columnGroups: columnGroups)
    }

    /// The group of each column in the weight's order; nil where groups are neighbors there.
    private var columnGroups: [Int32]? {
        guard method.byActivation, !method.staticGroups, groupSize != nil else { return nil }
        var result = groups
        for (place, column) in factor.order.enumerated() { result[Int(column)] = groups[place] }
        return result
    }

    /// The size of groups before whose first column all earlier errors must have been carried over; nil where there is no such
    /// rule.
    private var alignment: Int? { method.staticGroups || method.groupRanges == .blockStart ? nil : groupSize }

    /// Blocks of columns that are rounded before their errors are carried to the rest. An aligned group never lies in two
    /// blocks unless it is larger than a block.
    private var blocks: [Range<Int>] {
        guard let size = alignment else { return Self.cut(0..<columns, Self.block) }
        guard size > Self.block else { return Self.cut(0..<columns, Self.block / size * size) }
        return Self.cut(0..<columns, size).flatMap { Self.cut($0, Self.block) }
    }

    /// The parts of a block that are passed to the kernel one by one. They lie within an aligned group and have few columns,
    /// since the kernel's operations grow with the square of their number.
    private func segments(of block: Range<Int>) -> [Range<Int>] {
        guard let size = alignment else { return Self.cut(block, Self.segment) }
        return Self.cut(block, size).flatMap { Self.cut($0, Self.segment) }
    }

    private static func cut(_ range: Range<Int>, _ size: Int) -> [Range<Int>] {
        stride(from: range.lowerBound, to: range.upperBound, by: size).map { $0..<min($0 + size, range.upperBound) }
    }

    /// The grids of the groups that begin in `range`, from the running weights once all columns before it are rounded.
    private mutating func setGrids(in range: Range<Int>) {
        guard let size = groupSize, !method.staticGroups else { return }
        let firsts = range.filter { $0 % size == 0 }
        guard let last = firsts.last else { return }
        let running = runningWeights(range.lowerBound..<last + size)
        for first in firsts {
            var part = Tensor(uninitialized: [out, size])
            ck_transpose(running.pointer + (first - range.lowerBound) * out, size, out, part.mutablePointer)
            setGrids(first / size, of: part)
        }
    }

    /// The running weights u of the columns `range`, `[range, out]`, once all columns before it are rounded. (From column 0 on,
    /// the result may have more rows.)
    ///
    /// There `weights` holds s_k, which is w°_k plus the errors of the rounded columns. The running weights also include the
    /// differences of the columns in between if these kept their best real values. With d = w° − u, by substitution,
    ///
    ///     d_k = (w°_k − s_k) − Σ_{i<k} d_i·M_ik/M_kk
    ///
    /// over the columns i of `range`; n²/2 multiply-adds a row for n columns.
    private func runningWeights(_ range: Range<Int>) -> Tensor {
        guard range.lowerBound > 0 else { return weights }
        var result = Tensor(uninitialized: [range.count, out])
        let (target, original) = (result.mutablePointer, original.pointer + range.lowerBound * out)
        let weights = weights.pointer + range.lowerBound * out
        for index in 0..<result.count { target[index] = original[index] - weights[index] }
        for segment in Self.cut(range, Self.segment) {
            let solved = target + (segment.lowerBound - range.lowerBound) * out
            substitute(segment, in: solved)
            let rest = segment.upperBound..<range.upperBound
            guard !rest.isEmpty else { break }
            gemm(
                .asStored, .asStored, m: rest.count, n: out, k: segment.count, alpha: -1,
                factor.ratios.pointer + rest.lowerBound * columns + segment.lowerBound, lda: columns, solved, ldb: out, beta: 1,
                solved + segment.count * out, ldc: out)
        }
        for index in 0..<result.count { target[index] = original[index] - target[index] }
        return result
    }

    /// d_k ← d_k − Σ_{i<k} d_i·M_ik/M_kk for the columns of `segment`, one after the other.
    private func substitute(_ segment: Range<Int>, in target: UnsafeMutablePointer<Float>) {
        let (count, out, columns) = (segment.count, out, columns)
        let ratios = factor.ratios.pointer + segment.lowerBound * columns + segment.lowerBound
        // Rows of the weight whose columns fit into the first-level cache.
        let tile = 128
        Team.share((out + tile - 1) / tile, cost: tile * count * count / 2) { tiles in
            for first in stride(from: tiles.lowerBound * tile, to: min(out, tiles.upperBound * tile), by: tile) {
                let rows = min(tile, out - first)
                for k in 1..<count {
                    let sum = target + k * out + first
                    for i in 0..<k {
                        let (ratio, solved) = (ratios[k * columns + i], target + i * out + first)
                        for row in 0..<rows { sum[row] -= ratio * solved[row] }
                    }
                }
            }
        }
    }

    private mutating func setGrids(_ group: Int, of part: Tensor) {
        var byRow = quantizer
        let spec = quantizer.spec
        if spec.granularity != .tensor { byRow.spec.granularity = .channel }
        let grids = byRow.grids(of: part)
        let (scale, zero) = (scales.mutablePointer + group * out, zeros.mutablePointer + group * out)
        for row in 0..<out {
            let index = spec.granularity == .tensor ? 0 : row
            (scale[row], zero[row]) = (grids.scales[flat: index], grids.zeros[flat: index])
        }
    }

    private mutating func round(_ segment: Range<Int>, errorsAt place: Int) {
        let (first, count, kernel) = (segment.lowerBound, segment.count, quantizer.kernel)
        // The kernel processes the columns after each one.
        var ratios = Tensor(uninitialized: [count, count])
        let target = ratios.mutablePointer
        for j in 0..<count {
            let source = factor.ratios.pointer + (first + j) * columns + first
            for i in 0..<j { target[i * count + j] = source[i] }
        }
        let errors = errors.mutablePointer + place * out
        let (weights, original) = (weights.pointer + first * out, original.pointer + first * out)
        let (scales, zeros, out) = (scales.pointer, zeros.pointer, out)
        groups[segment].withUnsafeBufferPointer { groups in
            factor.order[segment].withUnsafeBufferPointer { order in
                guard let groups = groups.baseAddress, let order = order.baseAddress else { return }
                let block = ck_gptq_block(
                    rows: out, count: count, weights: weights, original: original, ratios: target, scales: scales,
                    zeros: zeros, groups: groups)
                let codes = codes.pointer
                Team.share((out + 15) / 16, cost: 16 * count * count) { rows in
                    ck_gptq_columns(
                        block, kernel, codes, order, errors, 16 * rows.lowerBound, min(out, 16 * rows.upperBound))
                }
            }
        }
        WorkProgress.note()
    }

    /// W ← W + E·ratios for the columns `rest`, where E is the rounding error of the columns `done`.
    private mutating func compensate(_ rest: Range<Int>, for done: Range<Int>, errorsAt place: Int) {
        guard !rest.isEmpty else { return }
        gemm(
            .asStored, .asStored, m: rest.count, n: out, k: done.count,
            factor.ratios.pointer + rest.lowerBound * columns + done.lowerBound, lda: columns, errors.pointer + place * out,
            ldb: out, beta: 1, weights.mutablePointer + rest.lowerBound * out, ldc: out)
    }

    private static func reordered(_ transposed: Tensor, _ order: [Int32]) -> Tensor {
        var result = Tensor(uninitialized: transposed.shape)
        let (target, out) = (result.mutablePointer, transposed.columns)
        for (place, column) in order.enumerated() {
            (target + place * out).update(from: transposed.pointer + Int(column) * out, count: out)
        }
        return result
    }
}

/// A matrix of integers that a kernel writes.
private final class CodeBuffer {
    let pointer: UnsafeMutablePointer<Int16>
    private let rows: Int
    private let columns: Int

    init(rows: Int, columns: Int) {
        (self.rows, self.columns) = (rows, columns)
        pointer = .allocate(capacity: max(rows * columns, 1))
        pointer.initialize(repeating: 0, count: rows * columns)
    }

    deinit { pointer.deallocate() }

    func transposed() -> [Int16] {
        // Rows that are a power of two apart compete for a few cache lines, so only as many as fit are processed at a time.
        let tile = 8
        return [Int16](unsafeUninitializedCapacity: rows * columns) { target, count in
            for i0 in stride(from: 0, to: rows, by: tile) {
                for j0 in stride(from: 0, to: columns, by: tile) {
                    for j in j0..<min(j0 + tile, columns) {
                        for i in i0..<min(i0 + tile, rows) { target[j * rows + i] = pointer[i * columns + j] }
                    }
                }
            }
            count = rows * columns
        }
    }
}
