/// A square matrix of ±1 with H·Hᵀ = n·I.
package struct HadamardMatrix: Sendable, Equatable {
    package let order: Int
    /// Row-major, ±1.
    package let elements: [Int8]

    private init(order: Int, elements: [Int8]) {
        self.order = order
        self.elements = elements
    }

    private init(order: Int, _ element: (Int, Int) -> Int) {
        self.order = order
        var elements = [Int8](repeating: 0, count: order * order)
        for row in 0..<order {
            for column in 0..<order { elements[row * order + column] = element(row, column) < 0 ? -1 : 1 }
        }
        self.elements = elements
    }

    subscript(row: Int, column: Int) -> Int { Int(elements[row * order + column]) }

    /// How a Hadamard matrix of an order is made.
    enum Construction: Equatable {
        case one
        /// H₂ ⊗ H_{n/2}.
        case doubled
        /// q = n − 1, a prime power ≡ 3 mod 4.
        case paleyI(FiniteField)
        /// q = n/2 − 1, a prime power ≡ 1 mod 4.
        case paleyII(FiniteField)
        /// Four symmetric circulants of order n/4.
        case williamson([UInt64])
        /// H_a ⊗ H_{n/a}.
        case product(Int)
    }

    /// The first construction that reaches `order`; nil if none does. Where a factor is published, it is the one that gives its
    /// matrix.
    static func construction(order n: Int) -> Construction? {
        if n == 1 { return .one }
        if n < 1 || n % 2 != 0 || (n > 2 && n % 4 != 0) { return nil }
        // The published factor of order 40 is the double of that of order 20, the one of order 28 Paley's second.
        if n == 2 || n == 40 { return .doubled }
        if let rows = circulantRows[n / 4], n % 4 == 0 { return .williamson(rows) }
        if n != 28, n % 4 == 0, let field = FiniteField(order: n - 1) { return .paleyI(field) }
        if (n / 2 - 1) % 4 == 1, let field = FiniteField(order: n / 2 - 1) { return .paleyII(field) }
        if construction(order: n / 2) != nil { return .doubled }
        var a = 4
        while a * a <= n {
            if n % a == 0, construction(order: a) != nil, construction(order: n / a) != nil { return .product(a) }
            a += 4
        }
        return nil
    }

    /// A Hadamard matrix of this order, nil if no construction here reaches it.
    package init?(order n: Int) {
        guard let construction = Self.construction(order: n) else { return nil }
        switch construction {
        case .one: self.init(order: 1, elements: [1])
        case .doubled:
            guard let half = HadamardMatrix(order: n / 2) else { return nil }
            self.init(order: n) { i, j in (i >= n / 2 && j >= n / 2 ? -1 : 1) * half[i % (n / 2), j % (n / 2)] }
        case .paleyI(let field): self.init(paleyI: field)
        case .paleyII(let field): self.init(paleyII: field)
        case .williamson(let rows): self.init(circulants: rows, order: n / 4)
        case .product(let a):
            guard let outer = HadamardMatrix(order: a), let inner = HadamardMatrix(order: n / a) else { return nil }
            let m = inner.order
            self.init(order: n) { i, j in outer[i / m, j / m] * inner[i % m, j % m] }
        }
    }

    /// Paley's first construction: first column +, the rest of the first row −, core χ(i − j) with + on the diagonal.
    ///
    /// Rows and columns are arranged as in the published factors of orders 12, 20, 44, 60, 108 and 140 (docs/algorithms.md,
    /// section 1).
    private init(paleyI field: FiniteField) {
        self.init(order: field.order + 1) { i, j in
            if j == 0 { return 1 }
            if i == 0 { return -1 }
            return i == j ? 1 : field.character(of: i - 1, minus: j - 1)
        }
    }

    /// Paley's second construction, C the symmetric conference matrix of order q + 1 (0 on the diagonal, + along the border,
    /// χ(i − j) inside):
    ///
    ///     [ C + I    C − I ]
    ///     [ C − I   −C − I ]
    ///
    /// Rows and columns are arranged as in the published factors of orders 28 and 36.
    private init(paleyII field: FiniteField) {
        let half = field.order + 1
        self.init(order: 2 * half) { row, column in
            let (i, j) = (row % half, column % half)
            let (lower, right) = (row >= half, column >= half)
            if i == j { return lower || right ? -1 : 1 }
            let conference = i == 0 || j == 0 ? 1 : field.character(of: i - 1, minus: j - 1)
            return lower && right ? -conference : conference
        }
    }

    /// Williamson's array of symmetric circulants A, B, C, D of order v with A² + B² + C² + D² = 4v·I, arranged as in the
    /// published factors of orders 52, 156 and 172:
    ///
    ///     [  A   B   C   D ]
    ///     [ −B   A  −D   C ]
    ///     [ −C   D   A  −B ]
    ///     [ −D  −C   B   A ]
    private init(circulants rows: [UInt64], order v: Int) {
        // Which circulant each block holds, and its sign.
        let blocks = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
        let signs = [[1, 1, 1, 1], [-1, 1, -1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1]]
        self.init(order: 4 * v) { row, column in
            let (blockRow, blockColumn) = (row / v, column / v)
            let shift = (column % v - row % v + v) % v
            let isNegative = rows[blocks[blockRow][blockColumn]] >> UInt64(shift) & 1 == 1
            return signs[blockRow][blockColumn] * (isNegative ? -1 : 1)
        }
    }

    /// First rows of four symmetric circulants whose power spectra add up to 4v; bit t set means entry t is −1.
    ///
    /// 13, 39 and 43 are the published factors' (of orders 52, 156 and 172). 23 and 29 were found by matching pairs among all
    /// symmetric sequences.
    private static let circulantRows: [Int: [UInt64]] = [
        13: [0x161a, 0x1c0e, 0xb34, 0x1ede],
        23: [0x6542a6, 0x6a0056, 0x6c7e36, 0x1cc338],
        29: [0x104edc82, 0xb212134, 0x173c0f3a, 0x13ac0d72],
        39: [0x1afb_3cdf58, 0xecf_5af370, 0x1975_bdae98, 0x72be_247d4e],
        43: [0x730a2_6450ce, 0x207ac_935e04, 0x14d42_f42b28, 0x385b3_fcda1c],
    ]
}
