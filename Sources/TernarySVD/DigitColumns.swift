internal import Glibc

/// The digits of whole numbers `[m, n]` as columns of U.
struct DigitColumns {
    /// Columns of digits one after the other, m entries each.
    private(set) var columns: [Float] = []
    /// For each column of digits, the column of the numbers; likewise the value of its digits.
    private(set) var places: [Int] = []
    private(set) var scales: [Float] = []

    /// Ordered by digit, the highest first, then by column. Columns of zeros are left out.
    init(ternary codes: [Int16], _ n: Int) {
        let m = codes.count / n
        var planes: [[Int8]] = []
        var uses: [[Bool]] = []
        for (place, code) in codes.enumerated() where code != 0 {
            var (rest, digit) = (Int(code), 0)
            while rest != 0 {
                if digit == planes.count {
                    planes.append([Int8](repeating: 0, count: m * n))
                    uses.append([Bool](repeating: false, count: n))
                }
                let trit = Self.lowestDigit(of: rest)
                if trit != 0 {
                    planes[digit][place % n * m + place / n] = Int8(trit)
                    uses[digit][place % n] = true
                }
                (rest, digit) = ((rest - trit) / 3, digit + 1)
            }
        }
        for digit in planes.indices.reversed() {
            for j in 0..<n where uses[digit][j] {
                columns += planes[digit][j * m..<(j + 1) * m].map(Float.init)
                places.append(j)
                scales.append(pow(3, Float(digit)))
            }
        }
    }

    /// Ordered by column, then by digit, the highest first, with an even number of digits for each column.
    init(binary codes: [Int16], _ n: Int) {
        let m = codes.count / n
        for j in 0..<n {
            var planes: [[Float]] = []
            for i in 0..<m {
                var (rest, digit) = (Int(codes[i * n + j]), 0)
                while rest != 0 {
                    if digit == planes.count {
                        planes += [[Float]](repeating: [Float](repeating: 0, count: m), count: 2)
                    }
                    let bit = Self.lowestBinaryDigit(of: rest)
                    planes[digit][i] = Float(bit)
                    (rest, digit) = ((rest - bit) / 2, digit + 1)
                }
            }
            for (digit, plane) in planes.enumerated().reversed() {
                columns += plane
                places.append(j)
                scales.append(Float(1 << digit))
            }
        }
    }

    /// The lowest balanced ternary digit, −1, 0 or 1.
    static func lowestDigit(of number: Int) -> Int {
        let rest = ((number % 3) + 3) % 3
        return rest == 2 ? -1 : rest
    }

    /// The lowest digit of the non-adjacent form, −1, 0 or 1. If it is not 0, the next digit is 0.
    static func lowestBinaryDigit(of number: Int) -> Int { number % 2 == 0 ? 0 : number & 3 == 1 ? 1 : -1 }
}
