/// The number of insertions, deletions, replacements and swaps of neighbours that turn one text into the other
/// (optimal string alignment), in O(|a|·|b|).
func editDistance(_ a: String, _ b: String) -> Int {
    let a = Array(a.utf8), b = Array(b.utf8)
    guard !a.isEmpty, !b.isEmpty else { return max(a.count, b.count) }
    var twoBack: [Int] = []
    var previous = Array(0...b.count)
    for i in 1...a.count {
        var row = [i] + Array(repeating: 0, count: b.count)
        for j in 1...b.count {
            let replacement = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
            row[j] = min(previous[j] + 1, row[j - 1] + 1, replacement)
            if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { row[j] = min(row[j], twoBack[j - 2] + 1) }
        }
        twoBack = previous
        previous = row
    }
    return previous[b.count]
}

/// The name a user most likely meant: the least edit distance to the whole, or to its last component when the path to it was
/// left out (`step` → `training.steps`). The first of several.
func nearestName(to name: String, among names: [String]) -> String? {
    // Longer names than any that exists need no exact distance, and a hostile one could be a megabyte.
    let name = String(name.prefix(100))
    func distance(_ candidate: String) -> Int {
        let whole = editDistance(name, candidate)
        guard !name.contains("."), let last = candidate.split(separator: ".").last else { return whole }
        return min(whole, editDistance(name, String(last)))
    }
    return names.map { (name: $0, distance: distance($0)) }.min { $0.distance < $1.distance }?.name
}
