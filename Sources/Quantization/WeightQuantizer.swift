internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// A weight as integers, with scales and zero points to convert them back: ŵ = (code − zero)·scale.
package struct QuantizedWeight: Sendable {
    /// Codes, row-major, of shape `shape`; made again at each access.
    package var codes: [Int16] { compact.all }
    private let compact: CompactCodes
    /// One per group: `[out, in/g]` for rows or groups within rows, `[in]` for columns, `[1]` for the whole tensor.
    package let scales: Tensor
    /// Zero points, whole numbers, in the shape of `scales`; 0 where symmetric.
    package let zeros: Tensor
    /// `[out, in]`.
    package let shape: [Int]
    package let spec: QuantizerSpec
    /// The group of each column where groups are not neighbors (activation order without static groups), else nil.
    package let columnGroups: [Int32]?

    /// - Precondition: a code per weight; as many zero points as scales; a group per column.
    package init(
        codes: [Int16], scales: Tensor, zeros: Tensor, shape: [Int], spec: QuantizerSpec, columnGroups: [Int32]? = nil
    ) {
        precondition(
            codes.count == shape.reduce(1, *) && scales.count == zeros.count && columnGroups?.count ?? shape[1] == shape[1],
            "\(codes.count) codes, \(scales.shape) scales, \(zeros.shape) zero points for a weight \(shape)")
        (compact, self.scales, self.zeros, self.shape, self.spec) = (CompactCodes(codes), scales, zeros, shape, spec)
        self.columnGroups = columnGroups
    }

    /// ŵ, `[out, in]`; exactly the floats of fake quantization.
    package func dequantized() -> Tensor {
        if let columnGroups { return dequantized(columnGroups: columnGroups) }
        var result = Tensor(uninitialized: shape)
        guard spec.granularity == .column else {
            dequantize(into: result.mutablePointer)
            return result
        }
        let (target, columns, codes) = (result.mutablePointer, shape[1], codes)
        for index in codes.indices {
            target[index] = (Float(codes[index]) - zeros[flat: index % columns]) * scales[flat: index % columns]
        }
        return result
    }
}

extension QuantizedWeight {
    /// Codes unpacked at a time.
    private static let chunk = 1 << 14

    /// Dequantizes groups of neighbors, some at a time, so that intermediate values stay in the cache.
    private func dequantize(into target: UnsafeMutablePointer<Float>) {
        let size = compact.count / max(1, scales.count)
        // Chunks begin at an even code.
        let step = max(2, Self.chunk / max(1, size) & ~1)
        let (count, scale, zero) = (scales.count, scales.pointer, zeros.pointer)
        Team.share((count + step - 1) / step, cost: 2 * step * size) { chunks in
            withUnsafeTemporaryAllocation(of: Int16.self, capacity: min(step, count) * size) { buffer in
                guard let codes = buffer.baseAddress else { return }
                for first in stride(from: chunks.lowerBound * step, to: min(count, chunks.upperBound * step), by: step) {
                    let groups = min(step, count - first)
                    compact.copy(first * size..<(first + groups) * size, to: codes)
                    ck_dequantize(codes, target + first * size, groups, size, scale + first, zero + first)
                }
            }
        }
    }
}

extension QuantizedWeight: LinearOperator {
    package var tensor: Tensor { dequantized() }
    package var byteCount: Int { compact.byteCount + 4 * (scales.count + zeros.count) + 4 * (columnGroups?.count ?? 0) }

    /// Some rows of ŵ, without making the others.
    package func rows(at indices: [Int32]) -> Tensor {
        let (columns, perRow) = (shape[1], scales.count / max(1, shape[0]))
        guard columnGroups == nil, spec.granularity != .column, perRow > 0, columns % (2 * perRow) == 0 else {
            return StoredTensor(tensor).rows(at: indices)
        }
        var result = Tensor(uninitialized: [indices.count, columns])
        let target = result.mutablePointer
        withUnsafeTemporaryAllocation(of: Int16.self, capacity: columns) { codes in
            guard let codes = codes.baseAddress else { return }
            for (place, index) in indices.enumerated() {
                let row = Int(index)
                precondition(row >= 0 && row < shape[0], "row \(row) of \(shape)")
                compact.copy(row * columns..<(row + 1) * columns, to: codes)
                ck_dequantize(
                    codes, target + place * columns, perRow, columns / perRow, scales.pointer + row * perRow,
                    zeros.pointer + row * perRow)
            }
        }
        return result
    }

    /// x·ŵᵀ in float32.
    package func product(_ x: Tensor) -> Tensor { matmul(x, .asStored, dequantized(), .transposed) }
}

/// Round-to-nearest quantization of weights `[out, in]`, each group clipped to its full range or to the best of 80 ranges.
///
/// The search tries the ratios 1 − i/100, i < 80, and keeps the one with the least Σ|ŵ − w|^2.4 per group, the largest on a
/// tie. A symmetric range is at least 1e-5, so that a row of zeros has a finite scale. docs/algorithms.md, section 2.
package struct WeightQuantizer: Sendable, Equatable {
    package var spec: QuantizerSpec
    /// Whether each group's clip ratio is searched for; otherwise `spec.clipRatio` is used.
    package var searchesClip: Bool

    private static let leastMagnitude: Float = 1e-5
    private static let searchCandidates: Int32 = 80
    private static let searchGrid: Int32 = 100

    package init(_ spec: QuantizerSpec, searchesClip: Bool = false) {
        self.spec = spec
        self.searchesClip = searchesClip
    }

    /// ŵ.
    package func fakeQuantized(_ weight: Tensor) -> Tensor {
        guard spec.isActive, weight.count > 0 else { return weight }
        if spec.granularity == .column { return byRows.fakeQuantized(weight.transposed()).transposed() }
        let (groups, size) = grouping(of: weight)
        let ratios = clipRatios(weight)
        var result = Tensor(uninitialized: weight.shape)
        let (source, target, clips, kernel) = (weight.pointer, result.mutablePointer, ratios.pointer, kernel)
        Team.share(groups, cost: size) {
            let first = $0.lowerBound * size
            ck_fake_quantize(source + first, target + first, $0.count, size, kernel, clips + $0.lowerBound, nil, nil)
        }
        return result
    }

    /// The integers and scales of ŵ.
    ///
    /// - Precondition: fewer than 16 bits; a matrix.
    package func quantized(_ weight: Tensor) -> QuantizedWeight {
        precondition(spec.isActive && weight.shape.count == 2, "\(spec.bits)-bit codes of a weight \(weight.shape)")
        let stored = spec.granularity == .column ? weight.transposed() : weight
        let (groups, size) = (spec.granularity == .column ? byRows : self).grouping(of: stored)
        let ratios = (spec.granularity == .column ? byRows : self).clipRatios(stored)
        var scales = Tensor(uninitialized: scaleShape(of: weight, groups: groups))
        var zeros = Tensor(uninitialized: scales.shape)
        var codes = [Int16](repeating: 0, count: weight.count)
        codes.withUnsafeMutableBufferPointer { codes in
            guard let base = codes.baseAddress else { return }
            ck_quantize_codes(
                stored.pointer, base, groups, size, kernel, ratios.pointer, scales.mutablePointer, zeros.mutablePointer)
        }
        if spec.granularity == .column {
            let (out, columns) = (weight.shape[0], weight.shape[1])
            codes = (0..<codes.count).map { [codes] index in codes[index % columns * out + index / columns] }
        }
        return QuantizedWeight(codes: codes, scales: scales, zeros: zeros, shape: weight.shape, spec: spec)
    }

    /// Scale and zero point of every group in order, as ``quantized(_:)`` finds them.
    ///
    /// - Precondition: any granularity but ``QuantizerGranularity/column``.
    func grids(of weight: Tensor) -> (scales: Tensor, zeros: Tensor) {
        precondition(spec.granularity != .column, "the groups of a column are not neighbors")
        let (groups, size) = grouping(of: weight)
        let ratios = clipRatios(weight)
        var (scales, zeros) = (Tensor(uninitialized: [groups]), Tensor(uninitialized: [groups]))
        ck_fake_quantize(
            weight.pointer, nil, groups, size, kernel, ratios.pointer, scales.mutablePointer, zeros.mutablePointer)
        return (scales, zeros)
    }

    /// The parameters for the kernels.
    var kernel: ck_quantizer { spec.kernel(leastMagnitude: Self.leastMagnitude) }

    /// The same quantizer, for the transposed weight.
    private var byRows: WeightQuantizer {
        var result = self
        result.spec.granularity = .channel
        return result
    }

    private func grouping(of weight: Tensor) -> (groups: Int, size: Int) {
        let size = spec.groupSize(in: weight)
        return (size == 0 ? 0 : weight.count / size, size)
    }

    private func scaleShape(of weight: Tensor, groups: Int) -> [Int] {
        switch spec.granularity {
        case .tensor, .column: [groups]
        case .channel, .token, .group, .head: [weight.shape[0], groups / max(1, weight.shape[0])]
        }
    }

    /// One clip ratio per group.
    private func clipRatios(_ weight: Tensor) -> Tensor {
        let (groups, size) = grouping(of: weight)
        var ratios = Tensor(repeating: spec.clipRatio, [groups])
        if searchesClip {
            let (source, target, kernel) = (weight.pointer, ratios.mutablePointer, kernel)
            Team.share(groups, cost: size * Int(Self.searchCandidates)) {
                ck_clip_search(
                    source + $0.lowerBound * size, target + $0.lowerBound, $0.count, size, kernel, Self.searchCandidates,
                    Self.searchGrid)
            }
        }
        return ratios
    }
}
