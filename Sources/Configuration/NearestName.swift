/// The number of insertions, deletions, replacements and swaps of neighbors that turn one text into the other
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

/// The setting a user most likely meant; nil where nothing is near.
///
/// The last component counts first: it must be that of the setting, or its initials (`lr` for `learning_rate`), or a few
/// letters off. Of such settings the one whose sections are nearest, the first of several. Where there is none, the whole may
/// be a few letters off.
func nearestName(to name: String, among names: [String]) -> String? {
    // Longer names than any that exists need no exact distance, and a hostile one could be a megabyte.
    let name = String(name.prefix(100))
    func parts(_ name: String) -> [String] { name.split(separator: ".").map(String.init) }
    let given = parts(name)
    guard let last = given.last else { return nil }
    let near = names.compactMap { candidate -> (name: String, distance: Int)? in
        let known = parts(candidate)
        guard let end = known.last else { return nil }
        let initials = end.split(separator: "_").compactMap(\.first)
        let distance = initials.count > 1 && last == String(initials) ? 0 : editDistance(last, end)
        guard distance <= max(1, last.utf8.count / 3) else { return nil }
        return (candidate, distance + sectionDistance(Array(given.dropLast()), Array(known.dropLast())))
    }
    if let nearest = near.min(by: { $0.distance < $1.distance }) { return nearest.name }
    let whole = names.map { (name: $0, distance: editDistance(name, $0)) }.min { $0.distance < $1.distance }
    return whole.flatMap { $0.distance <= max(2, name.utf8.count / 4) ? $0.name : nil }
}

/// What it takes to turn the sections given into those known: one for each left out, and the letters of those wrong or too
/// many.
private func sectionDistance(_ given: [String], _ known: [String]) -> Int {
    var previous = Array(0...known.count)
    for section in given {
        var row = [previous[0] + section.utf8.count]
        for (j, other) in known.enumerated() {
            row.append(min(previous[j] + editDistance(section, other), row[j] + 1, previous[j + 1] + section.utf8.count))
        }
        previous = row
    }
    return previous[known.count]
}

/// The word of a few that another most likely stands for: at most a third of its letters off. The first of several.
package func nearestWord(to word: String, among words: [String]) -> String? {
    let word = String(word.prefix(100))
    let nearest = words.map { (word: $0, distance: editDistance(word, $0)) }.min { $0.distance < $1.distance }
    return nearest.flatMap { $0.distance <= max(1, word.utf8.count / 3) ? $0.word : nil }
}
