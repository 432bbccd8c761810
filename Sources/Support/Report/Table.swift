/// Text in columns: the first to the left, numbers to the right.
package struct Table: Sendable {
    private let columns: [String]
    private var rows: [[String]] = []

    package init(columns: [String]) { self.columns = columns }

    /// Adds a row. - Precondition: a cell for each column.
    package mutating func add(_ row: [String]) {
        precondition(row.count == columns.count, "\(row.count) cells in \(columns.count) columns")
        rows.append(row)
    }

    /// Where a word in a head may be broken.
    package static let softHyphen = "\u{AD}"
    /// As wide a screen as there is everywhere.
    package static let width = 80

    /// Where the table would be wider than a screen, columns move together and their heads are broken at blanks and at
    /// soft hyphens.
    package var text: String {
        let forms: [(breaks: Bool, gap: Int)] = [(false, 3), (false, 2), (true, 3), (true, 2)]
        let texts = forms.lazy.map { text(breaks: $0.breaks, gap: $0.gap) }
        return texts.first { $0.width <= Self.width }?.lines.joined(separator: "\n")
            ?? text(breaks: true, gap: 1).lines.joined(separator: "\n")
    }

    private func text(breaks: Bool, gap: Int) -> (lines: [String], width: Int) {
        let columns = columns.map { $0.replacing(Self.softHyphen, with: breaks ? "- " : "") }
        let widths = columns.indices.map { column in
            let head = breaks ? columns[column].split(separator: " ").map(\.count).max() ?? 0 : columns[column].count
            return max(head, rows.map { $0[column].count }.max() ?? 0)
        }
        func line(_ cells: [String]) -> String {
            zip(cells, widths).enumerated().map { index, cell in
                let blanks = String(repeating: " ", count: cell.1 - cell.0.count)
                return index == 0 ? cell.0 + blanks : blanks + cell.0
            }.joined(separator: String(repeating: " ", count: gap))
        }
        let heads = zip(columns, widths).map { breaks ? $0.wrapped(width: $1, indent: 0) : [$0] }
        let height = heads.map(\.count).max() ?? 1
        let head = (0..<height).map { row in
            let head = line(heads.map { lines in row < height - lines.count ? "" : lines[row - (height - lines.count)] })
            return String(head.reversed().drop { $0 == " " }.reversed())
        }
        let rule = widths.map { String(repeating: "─", count: $0) }.joined(separator: String(repeating: "─", count: gap))
        return (head + [rule] + rows.map(line), rule.count)
    }
}

extension String {
    /// Lines broken at blanks, none longer than `width` unless a word is; all but the first are indented.
    package func wrapped(width: Int = Table.width, indent: Int) -> [String] {
        var lines: [String] = []
        var line = ""
        for word in split(separator: " ") {
            if line.isEmpty {
                line = lines.isEmpty ? String(word) : String(repeating: " ", count: indent) + word
            } else if line.count + 1 + word.count <= width {
                line += " " + word
            } else {
                lines.append(line)
                line = String(repeating: " ", count: indent) + word
            }
        }
        return lines + [line]
    }
}

extension Double {
    /// With this many decimals, rounded half away from zero.
    package func formatted(decimals: Int) -> String {
        guard isFinite, magnitude < 1e12 else { return description }
        var unit = 1
        for _ in 0..<decimals { unit *= 10 }
        let scaled = Int((magnitude * Double(unit)).rounded())
        let sign = self < 0 && scaled > 0 ? "-" : ""
        guard decimals > 0 else { return sign + String(scaled) }
        let fraction = String(scaled % unit)
        return "\(sign)\(scaled / unit)." + String(repeating: "0", count: decimals - fraction.count) + fraction
    }

    /// With at least this many digits: whole above, three decimals at most.
    package func formatted(digits: Int) -> String {
        var (decimals, bound) = (digits - 1, 10.0)
        while decimals > 0, magnitude >= bound { (decimals, bound) = (decimals - 1, bound * 10) }
        return formatted(decimals: magnitude < 0.1 ? max(decimals, 3) : decimals)
    }

    /// Seconds as a clock shows them: 4:05, or 1:02:03.
    package var asClock: String {
        guard isFinite, self >= 0, self < 1e9 else { return "–" }
        let seconds = Int(rounded())
        func two(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }
        return seconds < 3600
            ? "\(seconds / 60):\(two(seconds % 60))" : "\(seconds / 3600):\(two(seconds / 60 % 60)):\(two(seconds % 60))"
    }

    /// Four digits or so; with an exponent where it is very small or large.
    package var short: String {
        guard isFinite, self != 0 else { return self == 0 ? "0" : description }
        if magnitude >= 1000, magnitude < 1e9 { return formatted(decimals: 0) }
        if magnitude >= 0.01, magnitude < 1000 { return formatted(decimals: 4) }
        var (mantissa, exponent) = (self, 0)
        while mantissa.magnitude >= 9.995 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
        while mantissa.magnitude < 0.9995 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
        return "\(mantissa.formatted(decimals: 2))e\(exponent)"
    }
}
