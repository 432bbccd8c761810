internal import CKernels
package import LinearAlgebra
internal import TensorCore

/// Which values share one range.
package enum QuantizerGranularity: Sendable, Equatable {
    /// All of the tensor.
    case tensor
    /// Each row of a weight `[out, in]`.
    case channel
    /// Each column of a weight `[out, in]`.
    case column
    /// Each `size` contiguous values of a row; the range is not widened to contain 0.
    case group(Int)
    /// Each row of an activation `[tokens, features]`.
    case token
    /// Each `size` contiguous values of a row, which are those of one head.
    case head(Int)
}

/// How values are converted to integers of a few bits and back.
///
/// With `c` the clip ratio, `b` the bits and ⌊·⌉ rounding to nearest, ties to even:
/// - symmetric: s = c·max|x|/(2^(b−1)−1), q = clamp(⌊x/s⌉, −2^(b−1), 2^(b−1)−1), x̂ = q·s; in the full range
///   s = c·max|x|/(2^(b−1)−½);
/// - asymmetric: s = c·(max−min)/(2^b−1), z = ⌊−c·min/s⌉, q = clamp(⌊x/s⌉ + z, 0, 2^b−1), x̂ = (q − z)·s.
///
/// All-zero groups take s = 1 (symmetric) or the range [−1, 1] (asymmetric); an asymmetric group of one repeated value is
/// represented exactly. docs/algorithms.md, section 2.
package struct QuantizerSpec: Sendable, Equatable {
    /// Bits per value; 16 and more leave values as they are.
    package var bits: Int
    package var symmetric: Bool
    package var symmetricRange: SymmetricRange
    package var granularity: QuantizerGranularity
    /// Scales the range; values outside are clamped.
    package var clipRatio: Float
    /// Asymmetric ranges are widened to contain 0.
    package var includesZero: Bool

    /// - Parameter includesZero: nil widens every range but those of ``QuantizerGranularity/group(_:)``.
    /// - Precondition: at least 2 bits; groups and heads of at least one value; a positive clip ratio.
    package init(
        bits: Int, symmetric: Bool = false, granularity: QuantizerGranularity = .token, clipRatio: Float = 1,
        includesZero: Bool? = nil, symmetricRange: SymmetricRange = .restricted
    ) {
        precondition(bits >= 2 && clipRatio > 0, "a quantizer of \(bits) bits, clip ratio \(clipRatio)")
        self.bits = bits
        self.symmetric = symmetric
        self.symmetricRange = symmetricRange
        self.granularity = granularity
        self.clipRatio = clipRatio
        switch granularity {
        case .group(let size):
            precondition(size > 0, "groups of \(size)")
            self.includesZero = includesZero ?? false
        case .head(let size):
            precondition(size > 0, "heads of \(size)")
            self.includesZero = includesZero ?? true
        case .tensor, .channel, .column, .token:
            self.includesZero = includesZero ?? true
        }
    }

    /// Whether the quantizer changes anything.
    package var isActive: Bool { bits < 16 }

    /// Steps of the grid from one end of a range to the other. Values up to half a step outside an end still round to its code.
    package var steps: Double {
        let codes = Double(1 << bits)
        return symmetric && symmetricRange == .restricted ? codes - 2 : codes - 1
    }

    /// Number of contiguous values of `tensor` that share a range; for ``QuantizerGranularity/column``, of its transpose.
    ///
    /// - Precondition: groups and heads divide the row.
    func groupSize(in tensor: Tensor) -> Int {
        switch granularity {
        case .tensor: return tensor.count
        case .channel, .token: return tensor.columns
        case .column: return tensor.rows
        case .group(let size), .head(let size):
            precondition(tensor.columns % size == 0, "rows of \(tensor.columns) do not split into groups of \(size)")
            return size
        }
    }

    /// The parameters for the kernels.
    func kernel(leastMagnitude: Float = 0) -> ck_quantizer {
        ck_quantizer(
            bits: Int32(bits), symmetric: symmetric ? 1 : 0, include_zero: includesZero ? 1 : 0, clip_ratio: clipRatio,
            least_magnitude: leastMagnitude, full_range: symmetricRange == .full ? 1 : 0)
    }
}
