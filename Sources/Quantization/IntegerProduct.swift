package import LinearAlgebra
package import TensorCore

/// The product of a quantized weight with quantized activations, in integers.
///
/// With ŵ = (q_w − z_w)·s_w and x̂ = (q_x − z_x)·s_x as ``WeightQuantizer`` and ``QuantizerSpec`` make them,
///
///     y[t, r] = Σ_g (D·s_w[r, g])·s_x[t, g],   D = Σ_{c in g} (q_w − z_w)·(q_x − z_x)
///
/// over the groups g in which the scales of both are constant. D is exact, so that y is x̂·ŵᵀ up to the rounding of one
/// conversion, two products and one addition per group. It has the same bits on every processor.
package struct IntegerProduct: Sendable {
    /// How `apply(_:)` rounds.
    package let activations: QuantizerSpec
    private let matrix: IntegerMatrix

    package var rows: Int { matrix.rows }
    package var columns: Int { matrix.columns }
    /// Bytes held.
    package var byteCount: Int { matrix.byteCount }

    /// 8 bits, symmetric, one scale per token.
    package static let eightBits = QuantizerSpec(bits: 8, symmetric: true)

    /// - Throws: ``QuantizationError`` where weights or activations have more than 8 bits, weights have a scale per column,
    ///   activations have one scale for all tokens, or a zero point is too far from its codes.
    package init(_ weight: QuantizedWeight, activations: QuantizerSpec = Self.eightBits) throws(QuantizationError) {
        let perRow = weight.scales.count == 1 ? 0 : weight.scales.count / max(1, weight.shape[0])
        guard weight.spec.granularity != .column else {
            throw QuantizationError(
                .configuration, "a product of integers has scales for rows, groups or a tensor, not for columns")
        }
        guard weight.columnGroups == nil else {
            throw QuantizationError(
                .configuration,
                "a product of integers has groups of neighboring columns; quantize with static groups, or in the columns' order"
            )
        }
        try self.init(
            codes: weight.codes, rows: weight.shape[0], columns: weight.shape[1],
            width: perRow == 0 ? weight.shape[1] : weight.shape[1] / perRow, bits: weight.spec.bits,
            offset: weight.spec.symmetric ? 1 << (weight.spec.bits - 1) : 0,
            scale: { weight.scales[flat: perRow == 0 ? 0 : $0 * perRow + $1] },
            zero: weight.spec.symmetric
                ? nil
                : {
                    // A zero point that is not a whole number is treated like one that is too large, and refused below.
                    Int(exactly: weight.zeros[flat: perRow == 0 ? 0 : $0 * perRow + $1]) ?? .max
                },
            activations: activations)
    }

    /// - Parameters:
    ///   - codes: `[rows, columns]`, either −2^(bits−1) … 2^(bits−1)−1 or 0 … 2^bits−1.
    ///   - scales: `[rows, groups]`, for groups of equal size.
    ///   - zeros: in the shape of `scales`, in the same numbers as the codes; nil where all are 0.
    /// - Throws: ``QuantizationError``, as above and for a code outside both ranges.
    /// - Precondition: each row has scales of equal groups.
    package init(
        codes: [Int8], rows: Int, columns: Int, scales: [Float], zeros: [Int]? = nil, bits: Int,
        activations: QuantizerSpec = Self.eightBits
    ) throws(QuantizationError) {
        let groups = rows > 0 ? scales.count / rows : 0
        precondition(
            codes.count == rows * columns && groups > 0 && columns % groups == 0, "\(rows)×\(columns), \(scales.count) scales")
        precondition(
            scales.count == rows * groups && zeros.map { $0.count == scales.count } ?? true, "scales or zeros are missing")
        let isSigned = codes.contains { $0 < 0 } || zeros == nil
        try self.init(
            codes: codes, rows: rows, columns: columns, width: columns / groups, bits: bits,
            offset: isSigned && (2...8).contains(bits) ? 1 << (bits - 1) : 0, scale: { scales[$0 * groups + $1] },
            zero: zeros.map { zeros in { zeros[$0 * groups + $1] } }, activations: activations)
    }

    /// - Parameters:
    ///   - width: columns that share a scale of the weight.
    ///   - offset: added to a code to make it unsigned.
    private init<Code: FixedWidthInteger>(
        codes: [Code], rows: Int, columns: Int, width: Int, bits: Int, offset: Int,
        scale: (_ row: Int, _ group: Int) -> Float, zero: ((_ row: Int, _ group: Int) -> Int)?, activations: QuantizerSpec
    ) throws(QuantizationError) {
        precondition(rows > 0 && columns > 0, "a product with a weight [\(rows), \(columns)]")
        guard (2...8).contains(bits) else {
            throw QuantizationError(.configuration, "a product of integers takes weights of 2 to 8 bits, not \(bits)")
        }
        let range = try Self.range(of: activations, columns: columns)
        let group = Self.group(width, range, columns: columns)
        let (low, high) = codes.reduce(into: (Code.max, Code.min)) { $0 = (min($0.0, $1), max($0.1, $1)) }
        for code in [Int(low), Int(high)] where code + offset < 0 || code + offset >= 1 << bits {
            throw QuantizationError(.data, "the code \(code) of a weight does not fit \(bits) bits")
        }
        if let zero {
            // The limit of sums in 32 bits, see IntegerMatrix.
            let farthest = min(Int(Int16.max), Int(Int32.max) / (128 * group) - (1 << bits)) - offset
            for row in 0..<rows {
                for g in 0..<columns / width where !(-farthest...farthest).contains(zero(row, g)) {
                    throw QuantizationError(
                        .data,
                        "the zero point \(zero(row, g)) of row \(row), group \(g), is too far from codes of \(bits) bits: "
                            + "quantize with quantization.weights.symmetric=true or in larger groups, or leave "
                            + "eval.product=float")
                }
            }
        }
        self.activations = activations
        matrix = IntegerMatrix(
            rows: rows, columns: columns, group: group, bits: bits <= 2 ? 2 : bits <= 4 ? 4 : 8,
            zeros: zero.map { zero in .each { zero($0, $1 * group / width) + offset } } ?? .all(offset),
            forTokensWithZeros: !activations.symmetric, scale: { scale($0, $1 * group / width) }
        ) { range, target in
            let first = range.lowerBound * columns
            codes.withUnsafeBufferPointer { codes in
                for index in 0..<range.count * columns {
                    target[index] = UInt8(truncatingIfNeeded: Int(codes[first + index]) + offset)
                }
            }
        }
    }

    /// Columns that share a range; nil where a token has one range.
    private static func range(of spec: QuantizerSpec, columns: Int) throws(QuantizationError) -> Int? {
        guard (2...8).contains(spec.bits) else {
            throw QuantizationError(.configuration, "a product of integers takes activations of 2 to 8 bits, not \(spec.bits)")
        }
        switch spec.granularity {
        case .token, .channel: return nil
        case .group(let size), .head(let size):
            precondition(columns % size == 0, "rows of \(columns) do not split into groups of \(size)")
            return size == columns ? nil : size
        case .tensor, .column:
            throw QuantizationError(
                .configuration, "a product of integers has scales for tokens or groups in them, not for all tokens")
        }
    }

    /// The widest group in which both scales are constant and that one sum may cover.
    private static func group(_ width: Int, _ range: Int?, columns: Int) -> Int {
        let most = IntegerMatrix.largestGroup
        if width == columns && range == nil { return min(columns, most) }
        var (group, rest) = (width, range ?? columns)
        while rest > 0 { (group, rest) = (rest, group % rest) }
        guard group > most else { return group }
        return (1...most).last { group % $0 == 0 } ?? 1
    }

    /// The rows of x as integers, for this product and any other of the same width, groups and activations.
    package func rounded(_ x: Tensor) -> IntegerTokens {
        let range: Int?
        switch activations.granularity {
        case .group(let size), .head(let size): range = size
        case .tensor, .channel, .column, .token: range = nil
        }
        return IntegerTokens(
            rounding: x,
            by: TokenRounding(
                bits: activations.bits, symmetric: activations.symmetric, symmetricRange: activations.symmetricRange,
                includesZero: activations.includesZero, clipRatio: activations.clipRatio, range: range),
            group: matrix.group)
    }

    /// Whether this product can use the tokens that the other has rounded.
    package func reads(_ other: IntegerProduct) -> Bool {
        matrix.columns == other.matrix.columns && matrix.group == other.matrix.group && activations == other.activations
    }

    /// y for each row of x, `[…, columns]`: `[…, rows]`.
    package func apply(_ x: Tensor) -> Tensor {
        precondition(x.columns == columns, "a layer of \(columns) inputs for \(x.shape)")
        return apply(rounded(x)).reshaped(Array(x.shape.dropLast()) + [rows])
    }

    /// y, `[tokens, rows]`, of tokens from ``rounded(_:)``.
    package func apply(_ tokens: IntegerTokens) -> Tensor { matrix.product(tokens) }

    /// The same for several products that read the same tokens.
    package static func apply(_ products: [IntegerProduct], _ tokens: IntegerTokens) -> [Tensor] {
        IntegerMatrix.products(products.map(\.matrix), tokens)
    }
}
