/// The field of q = p^k elements, p an odd prime, as far as Paley's constructions need it: differences and which of them are
/// squares.
///
/// An element is a polynomial over the integers modulo p, written as the number whose digits to base p are its coefficients.
struct FiniteField: Sendable, Equatable {
    let order: Int
    private let prime: Int
    private let degree: Int
    /// χ: 0 for 0, 1 for squares, −1 for the others.
    private let characters: [Int8]

    /// - Returns: nil unless `order` is a power of an odd prime.
    init?(order: Int) {
        guard order >= 3, order % 2 == 1, let (prime, degree) = Self.primePower(order) else { return nil }
        self.order = order
        self.prime = prime
        self.degree = degree
        // x generates the non-zero elements modulo a primitive polynomial; its even powers are the squares.
        for polynomial in 1..<order {
            guard let powers = Self.powersOfX(modulo: polynomial, order, prime) else { continue }
            var characters = [Int8](repeating: 0, count: order)
            for (exponent, element) in powers.enumerated() { characters[element] = exponent % 2 == 0 ? 1 : -1 }
            self.characters = characters
            return
        }
        return nil
    }

    /// χ(a − b).
    func character(of a: Int, minus b: Int) -> Int {
        var (a, b, difference, place) = (a, b, 0, 1)
        for _ in 0..<degree {
            difference += (a % prime - b % prime + prime) % prime * place
            (a, b, place) = (a / prime, b / prime, place * prime)
        }
        return Int(characters[difference])
    }

    /// p and k with n = p^k, nil if there are none.
    private static func primePower(_ n: Int) -> (Int, Int)? {
        var prime = 2
        while prime * prime <= n && n % prime != 0 { prime += 1 }
        if n % prime != 0 { return (n, 1) }
        var (rest, degree) = (n, 0)
        while rest % prime == 0 { (rest, degree) = (rest / prime, degree + 1) }
        return rest == 1 ? (prime, degree) : nil
    }

    /// 1, x, x², … modulo x^k − c(x), the digits of `polynomial` being c's coefficients; nil unless all q − 1 powers differ.
    private static func powersOfX(modulo polynomial: Int, _ order: Int, _ prime: Int) -> [Int]? {
        let topPlace = order / prime
        var powers = [1]
        var element = 1
        while powers.count < order {
            let top = element / topPlace
            var (shifted, c, sum, place) = (element % topPlace * prime, polynomial, 0, 1)
            while place < order {
                sum += (shifted % prime + top * (c % prime)) % prime * place
                (shifted, c, place) = (shifted / prime, c / prime, place * prime)
            }
            element = sum
            if element == 0 { return nil }
            if element == 1 { return powers.count == order - 1 ? powers : nil }
            powers.append(element)
        }
        return nil
    }
}
