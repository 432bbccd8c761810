internal import Glibc
package import TensorCore

/// How the next token is chosen from logits.
package struct TokenChoice: Sendable {
    /// 0: the likeliest token.
    package let temperature: Double
    /// Tokens are drawn from the fewest that together have this probability (Holtzman et al., arXiv 1904.09751).
    package let topP: Double
    private var random: RandomStream

    /// - Precondition: a temperature of at least 0, and 0 < topP ≤ 1.
    package init(temperature: Double = 0, topP: Double = 1, seed: UInt64 = 0) {
        precondition(temperature >= 0 && topP > 0 && topP <= 1, "temperature \(temperature), top-p \(topP)")
        (self.temperature, self.topP) = (temperature, topP)
        random = RandomStream(seed: seed, stream: 0x67_656E_6572_6174)
    }

    /// - Returns: nil where a logit is not a number, or all are infinite.
    package mutating func next(_ logits: Tensor) -> Int32? {
        guard let best = Self.likeliest(logits) else { return nil }
        return temperature == 0 ? best : drawn(logits, best)
    }

    /// The first of the largest logits.
    private static func likeliest(_ logits: Tensor) -> Int32? {
        logits.withElements { logits in
            var best = 0
            for (index, value) in logits.enumerated() {
                guard !value.isNaN else { return nil }
                if value > logits[best] { best = index }
            }
            return logits[best].isFinite ? Int32(best) : nil
        }
    }

    private mutating func drawn(_ logits: Tensor, _ best: Int32) -> Int32 {
        let uniform = random.uniform()
        return logits.withElements { logits in
            let top = Double(logits[Int(best)])
            let weights = logits.map { exp((Double($0) - top) / temperature) }
            let sum = weights.reduce(0, +)
            // All tokens below this have less than 1 − topP together, so that none of them is wanted.
            let least = (1 - topP) * sum / Double(weights.count)
            var candidates = weights.indices.filter { topP == 1 || weights[$0] > least }
            var reach = sum
            if topP < 1 {
                candidates.sort { (weights[$1], $0) < (weights[$0], $1) }
                reach = 0
                let count = candidates.firstIndex { index in
                    reach += weights[index]
                    return reach >= topP * sum
                }
                candidates = Array(candidates.prefix((count ?? candidates.count - 1) + 1))
            }
            var left = uniform * reach
            for index in candidates {
                left -= weights[index]
                if left < 0 { return Int32(index) }
            }
            return candidates.last { weights[$0] > 0 }.map(Int32.init) ?? best
        }
    }
}
