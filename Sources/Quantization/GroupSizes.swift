/// Group sizes that divide a row's weights evenly.
package enum GroupSizes {
    /// The largest common divisor of the numbers that is at most `size`, and the smallest that is at least `size`, if there is
    /// one; not 1, which no group has.
    package static func nearest(to size: Int, dividing numbers: [Int]) -> [Int] {
        let common = numbers.reduce(0, greatestCommonDivisor)
        let divisors = (2...max(2, common)).filter { common % $0 == 0 }
        return [divisors.last { $0 <= size }, divisors.first { $0 > size }].compactMap(\.self)
    }

    /// The same as a text for the user.
    package static func advice(for size: Int, dividing numbers: [Int]) -> String {
        let sizes = nearest(to: size, dividing: numbers).map(String.init).joined(separator: " and ")
        return sizes.isEmpty
            ? "no size divides all; use quantization.weights.granularity=channel" : "the nearest that divide all: \(sizes)"
    }

    private static func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : greatestCommonDivisor(b, a % b) }
}
