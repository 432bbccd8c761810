/// An order n = m·2^a with a Hadamard matrix H_n = H_m ⊗ H_{2^a}: a factor m kept as a matrix, and the butterfly's part 2^a.
package struct HadamardOrder: Sendable, Equatable {
    /// n.
    package let order: Int
    /// m: 1, or the least multiple of n's odd part for which a matrix is known (40 where 40 divides n, as published).
    package let factor: Int
    /// 2^a.
    package var power: Int { order / factor }

    /// A larger factor costs more than it gains: such orders are split into blocks.
    static let largestFactor = 1024

    /// - Returns: nil if no construction here reaches `order`.
    package init?(_ order: Int) {
        guard order >= 1 else { return nil }
        let power = order & -order
        let odd = order / power
        self.order = order
        if odd == 1 {
            factor = 1
            return
        }
        if odd == 5 && power >= 8 {
            factor = 40
            return
        }
        let candidates = sequence(first: 4 * odd) { 2 * $0 }
            .prefix { $0 <= Self.largestFactor && $0 <= 4 * odd * power && order % $0 == 0 }
        guard let factor = candidates.first(where: { HadamardMatrix.construction(order: $0) != nil }) else { return nil }
        self.factor = factor
    }

    /// The largest order that divides `n`: the block of a block-diagonal transform where `n` itself has no matrix.
    package static func largestBlock(dividing n: Int) -> HadamardOrder {
        precondition(n >= 1, "a transform of \(n) values")
        let root = Int(Double(n).squareRoot()) + 1
        for divisor in 1...root where n % divisor == 0 {
            if let order = HadamardOrder(n / divisor) { return order }
        }
        for factor in stride(from: root, through: 1, by: -1) where n % factor == 0 {
            if let order = HadamardOrder(factor) { return order }
        }
        preconditionFailure("order 1 divides \(n)")
    }
}
