internal import CKernels
internal import Support
package import TensorCore

/// A matrix of integers of 2, 4 or 8 bits, w = (code − zero)·scale, laid out for products with ``IntegerTokens``.
///
/// `group` successive columns of a row share scale and zero point.
package struct IntegerMatrix: Sendable {
    package let rows: Int, columns: Int
    package let group: Int
    /// Bits that a code takes here.
    package let bits: Int
    private let codes: ByteStorage
    /// `[panels, groups, panel]`, as are the next two.
    private let scales: Tensor
    /// nil where all are `zero`.
    private let zeros: [Int16]?
    private let zero: Int
    /// Σ (code − zero) of each group; nil where no tokens with zero points are expected.
    private let totals: [Int32]?

    /// The zero points of a matrix.
    package enum Zeros {
        case all(Int)
        /// Of row r and group g.
        case each((_ row: Int, _ group: Int) -> Int)
    }

    /// - Parameters:
    ///   - group: columns that share a scale and a zero point; the last group of a row may be shorter.
    ///   - scale: the scale of row r and group g.
    ///   - forTokensWithZeros: whether the tokens' zero points may differ from 0.
    ///   - fill: writes the codes of some rows, below 2^bits, a byte each and row-major.
    /// - Precondition: at least one row and column; groups of 1 to ``largestGroup`` columns; 2, 4 or 8 bits; zero points of 16
    ///   bits; |code − zero|·128·group < 2^31.
    package init(
        rows: Int, columns: Int, group: Int, bits: Int, zeros: Zeros, forTokensWithZeros: Bool,
        scale: (_ row: Int, _ group: Int) -> Float, fill: (_ rows: Range<Int>, _ codes: UnsafeMutablePointer<UInt8>) -> Void
    ) {
        precondition(
            rows > 0 && columns > 0 && (1...Self.largestGroup).contains(group), "\(rows)×\(columns) in groups of \(group)")
        precondition([2, 4, 8].contains(bits), "a layout for codes of \(bits) bits")
        (self.rows, self.columns, self.group, self.bits) = (rows, columns, group, bits)
        let row = ck_integer_row(columns: columns, group: group)
        let (groups, panel) = (ck_integer_groups(row), Self.panel)
        let panels = (rows + panel - 1) / panel
        let panelBytes = ck_integer_steps(row) * panel * bits / 2
        codes = ByteStorage(uninitialized: panels * panelBytes)
        var scales = Tensor(zeros: [panels, groups, panel])
        var eachZero: [Int16]?
        if case .all(let zero) = zeros {
            self.zero = zero
        } else {
            (self.zero, eachZero) = (0, [Int16](repeating: 0, count: scales.count))
        }
        var totals = [Int32](repeating: 0, count: forTokensWithZeros ? scales.count : 0)
        var sums = [Int32](repeating: 0, count: groups * panel)
        let plain = ByteStorage(uninitialized: panel * columns)
        let source = plain.pointer.bindMemory(to: UInt8.self, capacity: panel * columns)
        for p in 0..<panels {
            let range = p * panel..<min(rows, (p + 1) * panel)
            fill(range, source)
            let target = (codes.pointer + p * panelBytes).bindMemory(to: UInt8.self, capacity: panelBytes)
            ck_integer_lay_out(source, range.count, row, Int32(bits), target, &sums)
            for g in 0..<groups {
                let width = min(group, columns - g * group)
                for r in range {
                    let entry = (p * groups + g) * panel + r % panel
                    scales[flat: entry] = scale(r, g)
                    var zero = self.zero
                    if case .each(let value) = zeros {
                        zero = value(r, g)
                        eachZero?[entry] = Int16(zero)
                    }
                    if forTokensWithZeros { totals[entry] = sums[g * panel + r % panel] - Int32(zero * width) }
                }
            }
        }
        self.scales = scales
        self.zeros = eachZero
        self.totals = forTokensWithZeros ? totals : nil
    }

    /// Rows that are laid out together.
    static let panel = Int(CK_INTEGER_PANEL)
    /// The most columns that one sum of integers may cover.
    package static let largestGroup = Int(CK_INTEGER_GROUP)

    /// Bytes held.
    package var byteCount: Int { codes.count + 4 * scales.count + 2 * (zeros?.count ?? 0) + 4 * (totals?.count ?? 0) }

    /// y[t, r] ← Σ_g (D·scale[r, g])·token scale[t, g], D = Σ_{c in g} (code − zero)·(token code − token zero), for all tokens
    /// and rows; rows of y are `stride` floats apart.
    ///
    /// D is exact, and everything else rounds in the same order on every processor and on any number of threads, which share
    /// the rows.
    package func multiply(
        _ tokens: IntegerTokens, into y: UnsafeMutablePointer<Float>, stride: Int, threads: Int = Team.threads
    ) {
        precondition(tokens.columns == columns && tokens.group == group, "tokens of another layout")
        precondition(!tokens.hasZeros || totals != nil, "tokens with zero points for a matrix without totals")
        defer { WorkProgress.note() }
        // Read by all threads; each writes rows of its own.
        nonisolated(unsafe) let (x, y) = (tokens.kernel, y)
        let parts = min(threads, rows * columns * tokens.count / Self.productsOfAThread)
        zeros.withPointer { zeros in
            totals.withPointer { totals in
                nonisolated(unsafe) let w = ck_integer_matrix(
                    rows: rows, row: ck_integer_row(columns: columns, group: group), bits: Int32(bits),
                    codes: codes.pointer.assumingMemoryBound(to: UInt8.self), scales: scales.pointer, zeros: zeros,
                    zero: Int32(zero), totals: totals)
                Team.share((rows + Self.panel - 1) / Self.panel, in: parts) { panels in
                    withUnsafePointer(to: w) { w in
                        withUnsafePointer(to: x) { x in
                            ck_integer_product(w, x, panels.lowerBound, panels.upperBound, y, stride)
                        }
                    }
                }
            }
        }
    }

    /// Below so many products of integers, some microseconds, a further thread costs more than it saves.
    private static let productsOfAThread = 1 << 17

    /// tokens·Wᵀ, `[tokens, rows]`.
    package func product(_ tokens: IntegerTokens, threads: Int = Team.threads) -> Tensor {
        var result = Tensor(uninitialized: [tokens.count, rows])
        if tokens.count > 0 { multiply(tokens, into: result.mutablePointer, stride: rows, threads: threads) }
        return result
    }
}

extension Optional {
    /// The elements' pointer, nil for nil.
    fileprivate func withPointer<Element, Result>(_ body: (UnsafePointer<Element>?) -> Result) -> Result
    where Wrapped == [Element] {
        guard let elements = self else { return body(nil) }
        return elements.withUnsafeBufferPointer { body($0.baseAddress) }
    }
}
