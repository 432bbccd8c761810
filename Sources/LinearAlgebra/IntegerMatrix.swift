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
    /// Of 16 bits; nil where all are `zero`.
    private let zeros: ByteStorage?
    private let zero: Int
    /// Σ (code − zero) of each group, in 32 bits; nil where no tokens with zero points are expected.
    private let totals: ByteStorage?

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
        self.zeros = eachZero.map { ByteStorage(copying: $0) }
        self.totals = forTokensWithZeros ? ByteStorage(copying: totals) : nil
    }

    /// Rows that are laid out together.
    static let panel = Int(CK_INTEGER_PANEL)
    /// The most columns that one sum of integers may cover.
    package static let largestGroup = Int(CK_INTEGER_GROUP)

    /// Bytes held.
    package var byteCount: Int { codes.count + 4 * scales.count + (zeros?.count ?? 0) + (totals?.count ?? 0) }

    /// y[t, r] ← Σ_g (D·scale[r, g])·token scale[t, g], D = Σ_{c in g} (code − zero)·(token code − token zero), for all tokens
    /// and rows; rows of y are `stride` floats apart.
    ///
    /// D is exact, and everything else rounds in the same order on every processor and on any number of threads, which share
    /// the rows.
    package func multiply(
        _ tokens: IntegerTokens, into y: UnsafeMutablePointer<Float>, stride: Int, threads: Int = Team.threads
    ) {
        Self.multiply([(self, y, stride)], tokens, threads: threads)
    }

    /// The same for several matrices, whose panels of rows are shared by the threads together: with one token a single matrix
    /// is so little work that threads would spend as long waiting for each other as multiplying.
    private static func multiply(
        _ products: [(matrix: IntegerMatrix, y: UnsafeMutablePointer<Float>, stride: Int)], _ tokens: IntegerTokens,
        threads: Int
    ) {
        var ends: [Int] = []
        var work = 0
        for (matrix, _, _) in products {
            precondition(tokens.columns == matrix.columns && tokens.group == matrix.group, "tokens of another layout")
            precondition(!tokens.hasZeros || matrix.totals != nil, "tokens with zero points for a matrix without totals")
            ends.append((ends.last ?? 0) + (matrix.rows + panel - 1) / panel)
            work += matrix.rows * matrix.columns * tokens.count
        }
        defer { WorkProgress.note() }
        Team.share(ends.last ?? 0, in: min(threads, work / productsOfAThread)) { panels in
            var first = 0
            for ((matrix, y, stride), end) in zip(products, ends) {
                let own = panels.clamped(to: first..<end)
                if !own.isEmpty {
                    withUnsafePointer(to: matrix.kernel) { w in
                        withUnsafePointer(to: tokens.kernel) { x in
                            ck_integer_product(w, x, own.lowerBound - first, own.upperBound - first, y, stride)
                        }
                    }
                }
                first = end
            }
        }
    }

    /// What the kernels take; valid while this matrix is.
    private var kernel: ck_integer_matrix {
        ck_integer_matrix(
            rows: rows, row: ck_integer_row(columns: columns, group: group), bits: Int32(bits),
            codes: codes.pointer.assumingMemoryBound(to: UInt8.self), scales: scales.pointer,
            zeros: zeros?.pointer.assumingMemoryBound(to: Int16.self), zero: Int32(zero),
            totals: totals?.pointer.assumingMemoryBound(to: Int32.self))
    }

    /// Below so many products of integers, some microseconds, a further thread costs more than it saves.
    private static let productsOfAThread = 1 << 17

    /// tokens·Wᵀ, `[tokens, rows]`.
    package func product(_ tokens: IntegerTokens, threads: Int = Team.threads) -> Tensor {
        Self.products([self], tokens, threads: threads)[0]
    }

    /// tokens·Wᵀ of each matrix. - Precondition: matrices of one number of columns, in the same groups.
    package static func products(
        _ matrices: [IntegerMatrix], _ tokens: IntegerTokens, threads: Int = Team.threads
    ) -> [Tensor] {
        var results = matrices.map { Tensor(uninitialized: [tokens.count, $0.rows]) }
        guard tokens.count > 0 else { return results }
        let places = results.indices.map { (matrices[$0], results[$0].mutablePointer, matrices[$0].rows) }
        multiply(places, tokens, threads: threads)
        return results
    }
}
