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
        /// Four circulant matrices of order n/4.
        case fourCirculants([UInt64])
        /// H_a ⊗ H_{n/a}.
        case product(Int)
    }

    /// The first construction that reaches `order`; nil if none does.
    static func construction(order n: Int) -> Construction? {
        if n == 1 { return .one }
        if n < 1 || n % 2 != 0 || (n > 2 && n % 4 != 0) { return nil }
        // The published factor of order 40 is the double of that of order 20.
        if n == 2 || n == 40 { return .doubled }
        if n % 4 == 0, let field = FiniteField(order: n - 1) { return .paleyI(field) }
        if (n / 2 - 1) % 4 == 1, let field = FiniteField(order: n / 2 - 1) { return .paleyII(field) }
        if let sequences = circulantRows[n / 4] { return .fourCirculants(sequences) }
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
        case .fourCirculants(let rows): self.init(circulants: rows, order: n / 4)
        case .product(let a):
            guard let outer = HadamardMatrix(order: a), let inner = HadamardMatrix(order: n / a) else { return nil }
            let m = inner.order
            self.init(order: n) { i, j in outer[i / m, j / m] * inner[i % m, j % m] }
        }
    }

    /// Paley's first construction: first column +, the rest of the first row −, core χ(i − j) with + on the diagonal.
    ///
    /// Rows and columns are arranged as in the published factors of orders 12, 20, 44, 60, 108 and 140 (golden/README.md, SpinQuant 8).
    private init(paleyI field: FiniteField) {
        self.init(order: field.order + 1) { i, j in
            if j == 0 { return 1 }
            if i == 0 { return -1 }
            return i == j ? 1 : field.character(of: i - 1, minus: j - 1)
        }
    }

    /// Paley's second construction: C ⊗ [+ +; + −] + I ⊗ [+ −; − −], C the symmetric conference matrix of order q + 1
    /// (0 on the diagonal, + along the border, χ(i − j) inside).
    private init(paleyII field: FiniteField) {
        self.init(order: 2 * (field.order + 1)) { row, column in
            let (i, j) = (row / 2, column / 2)
            let (lower, right) = (row % 2 == 1, column % 2 == 1)
            if i == j { return lower || right ? -1 : 1 }
            let conference = i == 0 || j == 0 ? 1 : field.character(of: i - 1, minus: j - 1)
            return lower && right ? -conference : conference
        }
    }

    /// The Goethals–Seidel array of circulants A, B, C, D of order v with AAᵀ + BBᵀ + CCᵀ + DDᵀ = 4v·I, P the reversal of columns:
    ///
    ///     [  A    BP    CP    DP  ]
    ///     [ −BP   A     DᵀP  −CᵀP ]
    ///     [ −CP  −DᵀP   A     BᵀP ]
    ///     [ −DP   CᵀP  −BᵀP   A   ]
    ///
    /// Symmetric circulants make it Williamson's array up to the order of rows.
    private init(circulants rows: [UInt64], order v: Int) {
        func entry(_ block: Int, _ shift: Int) -> Int { rows[block] >> UInt64((shift % v + v) % v) & 1 == 1 ? -1 : 1 }
        // Which circulant each block holds, its sign and whether it is transposed.
        let blocks = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
        let signs = [[1, 1, 1, 1], [-1, 1, 1, -1], [-1, -1, 1, 1], [-1, 1, -1, 1]]
        self.init(order: 4 * v) { row, column in
            let (blockRow, blockColumn, i, j) = (row / v, column / v, row % v, column % v)
            let sign = signs[blockRow][blockColumn]
            let block = blocks[blockRow][blockColumn]
            if blockRow == blockColumn { return sign * entry(block, j - i) }
            let reversed = v - 1 - j
            let isTransposed = blockRow > 0 && blockColumn > 0
            return sign * entry(block, isTransposed ? i - reversed : reversed - i)
        }
    }

    /// First rows of four circulants whose power spectra add up to 4v; bit t set means entry t is −1.
    ///
    /// Found by matching pairs among all sequences that are constant on the orbits of a group of multipliers modulo v
    /// ({1, −1} for 23 and 29, which gives symmetric matrices; the powers of 16 for 39 and of 6 for 43).
    private static let circulantRows: [Int: [UInt64]] = [
        23: [0x6542a6, 0x6a0056, 0x6c7e36, 0x1cc338],
        29: [0x104edc82, 0xb212134, 0x173c0f3a, 0x13ac0d72],
        39: [0x1148_55bb6e, 0x6498_9e8bc8, 0x75d2_9ebdf4, 0x3df0_1cf9e4],
        43: [0x4a7_3ddf9e9c, 0x2c8_d1cceb38, 0x282_fd4fd53c, 0x5f8_136fa4da],
    ]
}
