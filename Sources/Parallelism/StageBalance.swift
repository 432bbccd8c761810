/// Divides a model's blocks into stages.
package enum StageBalance {
    /// The blocks of each stage: contiguous, at least one per stage, with the most expensive stage as cheap as possible. Of
    /// equal divisions the one whose later stages are smaller, since those wait longest for their first micro-batch.
    ///
    /// Dynamic programming over prefix sums: best(s, n), the least possible maximum with the first n blocks on s stages, is min
    /// over k of max(best(s − 1, k), cost(k ..< n)). The first term rises with k and the second falls, so that the minimum is
    /// where they meet: O(stages · blocks · log blocks).
    ///
    /// - Parameters:
    ///   - blocks: cost of each block.
    /// - first, last: additional costs of the first and the last stage (embedding; norm, head and loss).
    /// - Precondition: no more stages than blocks; costs are not negative.
    package static func divide(blocks: [Double], first: Double = 0, last: Double = 0, stages: Int) -> [Range<Int>] {
        precondition(stages >= 1 && stages <= blocks.count, "\(stages) stages for \(blocks.count) blocks")
        let count = blocks.count
        let sums = blocks.reduce(into: [0.0]) { $0.append($0[$0.count - 1] + $1) }
        func cost(_ range: Range<Int>) -> Double {
            sums[range.upperBound] - sums[range.lowerBound] + (range.lowerBound == 0 ? first : 0)
                + (range.upperBound == count ? last : 0)
        }
        // cuts[s][n]: where the last of s + 1 stages begins if these hold the first n blocks.
        var best = (0...count).map { $0 == 0 ? .infinity : cost(0..<$0) }
        var cuts = [[Int](repeating: 0, count: count + 1)]
        for stage in stride(from: 1, to: stages, by: 1) {
            var next = [Double](repeating: .infinity, count: count + 1)
            var cut = [Int](repeating: 0, count: count + 1)
            for n in stage + 1..<count + 1 {
                // The first k for which the earlier stages are the most expensive, and the k before it.
                let meeting = firstIndex(in: stage..<n) { best[$0] >= cost($0..<n) }
                let least = min(
                    meeting < n ? best[meeting] : .infinity, meeting > stage ? cost(meeting - 1..<n) : .infinity)
                // Of all equally good k, the last.
                next[n] = least
                cut[n] = firstIndex(in: stage..<n) { best[$0] > least } - 1
            }
            best = next
            cuts.append(cut)
        }
        var ranges: [Range<Int>] = []
        var end = count
        for stage in (0..<stages).reversed() {
            let begin = cuts[stage][end]
            ranges.append(begin..<end)
            end = begin
        }
        return ranges.reversed()
    }

    /// The first index for which `holds` is true, given that it stays true from there on; the upper bound where there is none.
    private static func firstIndex(in range: Range<Int>, _ holds: (Int) -> Bool) -> Int {
        var range = range
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            range = holds(middle) ? range.lowerBound..<middle : middle + 1..<range.upperBound
        }
        return range.lowerBound
    }
}
