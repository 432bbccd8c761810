internal import TensorCore

/// Ternary factors as an arithmetic code, for files and messages between ranks. Lossless.
///
/// The order is as follows; each bit is coded with chances estimated from earlier bits (`AdaptiveBit`):
///
/// 1. whether there are a and b, an even chance;
/// 2. V, row by row: whether the row has one non-zero only (a unit). A unit's place, counted from the place after the last
///    unit's (columns are a circle): for each column passed over a 1, then a 0; then its sign. Of any other row each entry,
///    whether it is not 0, with chances of the row's own, and the sign of one that is not, an even chance;
/// 3. U, column by column: whether an entry is not 0, with chances of the column's own, and its sign, an even chance. Where V's
///    row is a unit at a place that an earlier component has, too, the last non-zero entry of these in the same row of U is
///    the context: 0, or not 0 (then chances of their own say whether the signs agree);
/// 4. s, a and b: whether all have no more than the 16 bits of bfloat16, an even chance; of each number whether it is the one
///    before it, and otherwise its bits, the highest byte first: two bytes with chances for each of their bits given those
///    before, and the rest, if any, with even chances.
///
/// Factors that satisfy 2:4 (``TernarySparsity``) have a form of their own, which cannot represent others: where two of the
/// neighbors before an entry are not 0, the entry is 0 and takes no bits. The digits of a column are beside each other. See
/// `TernaryCode+Sparse.swift`.
///
/// The chances of a row or column begin with those that its predecessors of the same kind ended with, as if `inherited` bits
/// had been seen.
package enum TernaryCode {
    /// An error: the bytes are not a code of factors of the given shape.
    package struct Malformed: Error {}

    /// The number of bits of experience that a row of V or a column of U begins with, and the number that counts in what is
    /// passed on.
    fileprivate static let (inherited, memory): (UInt32, Int) = (8, 64)

    /// The code of these factors, which has exactly one length and restores them bit for bit.
    package static func encode(_ factors: TernaryFactors) -> [UInt8] {
        var coder = TernaryCoder(BinaryEncoder(), TernaryParts(factors))
        coder.run()
        precondition(coder.isWhole, "factors that do not keep to the sparsity they have")
        return coder.coder.finish()
    }

    /// - Parameters:
    ///   - rows, componentCount, columns: m, k and n.
    /// - Throws: ``Malformed`` where the bytes are not a code of such factors.
    package static func decode(
        _ bytes: [UInt8], rows: Int, componentCount: Int, columns: Int, tolerance: Float, form: String,
        sparsity: TernarySparsity = .none
    ) throws(Malformed) -> TernaryFactors {
        // No code is shorter, since an entry of U, a or b costs at least a thousandth of a bit.
        let most = 8192 * bytes.count
        guard rows > 0, columns > 0, componentCount >= 0, rows <= most, columns <= most, componentCount <= most / rows,
            componentCount <= (1 << 34) / max(rows, columns)
        else { throw Malformed() }
        var coder = TernaryCoder(
            BinaryDecoder(bytes), TernaryParts(rows: rows, componentCount: componentCount, columns: columns, sparsity: sparsity)
        )
        coder.run()
        guard coder.isWhole, coder.coder.isAtEnd, coder.parts.isFinite else { throw Malformed() }
        return coder.parts.factors(tolerance: tolerance, form: form)
    }
}

/// Factors as arrays that a coder reads or fills.
struct TernaryParts {
    let rows: Int, componentCount: Int, columns: Int
    let sparsity: TernarySparsity
    /// U's columns and V's rows, one after the other.
    var u: [Int8], v: [Int8]
    /// Bit patterns.
    var s: [UInt32], a: [UInt32], b: [UInt32]
    var isBalanced: Bool

    init(_ factors: TernaryFactors) {
        (rows, componentCount, columns) = (factors.u.rows, factors.componentCount, factors.v.columns)
        sparsity = factors.sparsity
        u = factors.u.unpacked.transposed().withElements { $0.map { Int8($0) } }
        v = factors.v.unpacked.withElements { $0.map { Int8($0) } }
        s = factors.s.map(\.bitPattern)
        a = factors.balance?.a.map(\.bitPattern) ?? []
        b = factors.balance?.b.map(\.bitPattern) ?? []
        isBalanced = factors.balance != nil
    }

    init(rows: Int, componentCount: Int, columns: Int, sparsity: TernarySparsity) {
        (self.rows, self.componentCount, self.columns, self.sparsity) = (rows, componentCount, columns, sparsity)
        (u, v) = ([Int8](repeating: 0, count: componentCount * rows), [Int8](repeating: 0, count: componentCount * columns))
        s = [UInt32](repeating: 0, count: componentCount)
        (a, b, isBalanced) = ([], [], false)
    }

    var isFinite: Bool { (s + a + b).allSatisfy { Float(bitPattern: $0).isFinite } }

    func factors(tolerance: Float, form: String) -> TernaryFactors {
        let left = Tensor(u.map(Float.init), [componentCount, rows]).transposed()
        return TernaryFactors(
            u: PackedTernary(left), s: s.map(Float.init(bitPattern:)),
            v: PackedTernary(Tensor(v.map(Float.init), [componentCount, columns])),
            balance: isBalanced ? Balance(a: a.map(Float.init(bitPattern:)), b: b.map(Float.init(bitPattern:))) : nil,
            tolerance: tolerance, form: form, sparsity: sparsity)
    }
}

/// Chances of a row or column, which are passed on to the next of its kind.
struct Inheritance {
    private var chance: UInt32 = 1 << 14
    private var (zeros, ones) = (0, 0)
    private(set) var bit = AdaptiveBit()

    /// Begins a row or column.
    mutating func begin() {
        let all = TernaryCode.memory + zeros + ones
        chance = UInt32((Int(chance) * TernaryCode.memory + 65_536 * ones) / all)
        (zeros, ones) = (0, 0)
        bit = AdaptiveBit(chance: chance, bits: TernaryCode.inherited)
    }

    @inline(__always) mutating func code(_ value: Bool, _ coder: inout some BinaryCoder) -> Bool {
        let result = coder.code(value, &bit)
        if result { ones += 1 } else { zeros += 1 }
        return result
    }
}

/// The format, for both directions.
struct TernaryCoder<Coder: BinaryCoder> {
    var coder: Coder
    var parts: TernaryParts
    /// Whether the decoded values are valid.
    var isWhole = true
    /// The place of each component's only non-zero in V; nil where it has none or several.
    var units: [Int?] = []

    init(_ coder: Coder, _ parts: TernaryParts) { (self.coder, self.parts) = (coder, parts) }

    mutating func run() {
        parts.isBalanced = coder.code(parts.isBalanced)
        if parts.isBalanced, parts.a.isEmpty {
            parts.a = [UInt32](repeating: 0, count: parts.rows)
            parts.b = [UInt32](repeating: 0, count: parts.columns)
        }
        if parts.sparsity == .none { right() } else { sparseRight() }
        guard isWhole else { return }
        if parts.sparsity == .none { left() } else { sparseLeft() }
        if parts.sparsity == .none { numbers(\.s) } else { numbers(\.s, kinds: places.map { $0 ?? -1 }) }
        numbers(\.a)
        numbers(\.b)
    }

    // MARK: V

    private mutating func right() {
        let (n, k) = (parts.columns, parts.componentCount)
        var (isUnit, passes, isNegative) = (AdaptiveBit(), AdaptiveBit(), AdaptiveBit())
        var entries = Inheritance()
        var next = 0
        for j in 0..<k {
            let row = j * n..<(j + 1) * n
            let places = row.filter { parts.v[$0] != 0 }
            guard coder.code(places.count == 1, &isUnit) else {
                entries.begin()
                for e in row { parts.v[e] = entry(parts.v[e], &entries) }
                units.append(nil)
                continue
            }
            let wanted = places.first.map { ($0 - j * n - next + n) % n } ?? 0
            var passed = 0
            while coder.code(passed < wanted, &passes) {
                passed += 1
                guard passed < n else { return isWhole = false }
            }
            let place = (next + passed) % n
            parts.v[j * n + place] = coder.code(parts.v[j * n + place] < 0, &isNegative) ? -1 : 1
            units.append(place)
            next = (place + 1) % n
        }
    }

    @inline(__always) mutating func entry(_ value: Int8, _ chances: inout Inheritance) -> Int8 {
        guard chances.code(value != 0, &coder) else { return 0 }
        return coder.code(value < 0) ? -1 : 1
    }

    // MARK: U

    /// Chances for the components of one kind: whether an entry is not 0, where the context is 0 and where it is not, and
    /// whether it then has the context's sign.
    private struct Kind {
        var alone = Inheritance(), beside = Inheritance(), agrees = Inheritance()
        mutating func begin() {
            alone.begin()
            beside.begin()
            agrees.begin()
        }
    }

    private mutating func left() {
        let m = parts.rows
        // Indexed by how many earlier components have the same unit, with larger numbers together; the last is for rows that
        // are not units.
        var kinds = [Kind](repeating: Kind(), count: 5)
        var contexts: [Int: (depth: Int, entries: [Int8])] = [:]
        let none = [Int8](repeating: 0, count: m)
        for (j, unit) in units.enumerated() {
            var (depth, context) = unit.flatMap { contexts.removeValue(forKey: $0) } ?? (0, none)
            let kind = unit == nil ? 4 : min(depth, 3)
            kinds[kind].begin()
            for i in 0..<m {
                let (value, before) = (parts.u[j * m + i], context[i])
                var result: Int8 = 0
                if before == 0 {
                    result = entry(value, &kinds[kind].alone)
                } else if kinds[kind].beside.code(value != 0, &coder) {
                    result = kinds[kind].agrees.code(value == before, &coder) ? before : -before
                }
                parts.u[j * m + i] = result
                if result != 0 { context[i] = result }
            }
            depth += 1
            if let unit { contexts[unit] = (depth, context) }
        }
    }

    // MARK: Numbers

    /// - Parameter kinds: the kind of each number, which is compared with the last one of its kind. nil: all are of one kind.
    private mutating func numbers(_ array: WritableKeyPath<TernaryParts, [UInt32]>, kinds: [Int]? = nil) {
        let isShort = coder.code(parts[keyPath: array].allSatisfy { $0 & 0xFFFF == 0 })
        var isRepeated = AdaptiveBit()
        var trees = [AdaptiveBit](repeating: AdaptiveBit(), count: 2 * 256)
        var last: [Int: UInt32] = [:]
        for place in parts[keyPath: array].indices {
            let value = parts[keyPath: array][place]
            let kind = kinds?[place] ?? 0
            if let last = last[kind], coder.code(value == last, &isRepeated) {
                parts[keyPath: array][place] = last
                continue
            }
            var result: UInt32 = 0
            for byte in 0..<(isShort ? 2 : 4) {
                var node = 1
                for bit in 0..<8 {
                    let is1 = value >> UInt32(31 - 8 * byte - bit) & 1 == 1
                    let coded = byte < 2 ? coder.code(is1, &trees[byte * 256 + node]) : coder.code(is1)
                    node = node << 1 | (coded ? 1 : 0)
                    result = result << 1 | (coded ? 1 : 0)
                }
            }
            if isShort { result <<= 16 }
            parts[keyPath: array][place] = result
            last[kind] = result
        }
    }
}
