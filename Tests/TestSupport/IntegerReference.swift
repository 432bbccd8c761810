/// One range of a token as integers, x̂ = (code − zero)·scale, by the formulas of docs/algorithms.md, section 2, written out.
package struct RoundedRange {
    package var codes: [Int]
    package var scale: Float
    package var zero: Int

    package init(_ x: [Float], bits: Int, symmetric: Bool, isFull: Bool = false, includesZero: Bool = true, clip: Float = 1) {
        var low = x.min() ?? 0, high = x.max() ?? 0
        func nearest(_ value: Float) -> Float { (value / scale).rounded(.toNearestOrEven) }
        if symmetric {
            let levels = Float((1 << (bits - 1)) - 1)
            let magnitude = max(abs(low), abs(high))
            (codes, scale, zero) = ([], magnitude == 0 ? 1 : magnitude * clip / (isFull ? levels + 0.5 : levels), 0)
            if isFull { scale *= 1 - 0x1p-22 }
            codes = x.map { Int(min(max(nearest($0), -levels - 1), levels)) }
            return
        }
        let levels = Float((1 << bits) - 1)
        if includesZero { (low, high) = (min(low, 0), max(high, 0)) }
        if low == high && low != 0 {
            (codes, scale, zero) = ([], abs(high), high < 0 ? 1 : 0)
        } else {
            (low, high) = low == high ? (-1, 1) : (low * clip, high * clip)
            (codes, scale, zero) = ([], (high - low) / levels, 0)
            zero = Int(nearest(-low))
        }
        codes = x.map { Int(min(max(nearest($0) + Float(zero), 0), levels)) }
    }
}

/// y = Σ_g (D·scale)·token scale of one token and one row, D the exact sum of products in group g.
package enum IntegerReference {
    /// - Parameters:
    ///   - weight: (code, zero point, scale) of a column.
    ///   - ranges: of the token, of equal width.
    package static func product(
        _ ranges: [RoundedRange], width: Int, group: Int, columns: Int,
        weight: (_ column: Int) -> (code: Int, zero: Int, scale: Float)
    ) -> Float {
        var sum: Float = 0
        for first in stride(from: 0, to: columns, by: group) {
            var exact = 0
            for column in first..<min(columns, first + group) {
                let (w, x) = (weight(column), ranges[column / width])
                exact += (w.code - w.zero) * (x.codes[column % width] - x.zero)
            }
            let value = Float(exact) * weight(first).scale * ranges[first / width].scale
            sum = first == 0 ? value : sum + value
        }
        return sum
    }
}
