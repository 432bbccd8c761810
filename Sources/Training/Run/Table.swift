/// Text in columns: the first to the left, numbers to the right.
package struct Table: Sendable {
    private let columns: [String]
    private var rows: [[String]] = []

    package init(columns: [String]) { self.columns = columns }

    package mutating func add(_ row: [String]) {
        precondition(row.count == columns.count, "\(row.count) cells in \(columns.count) columns")
        rows.append(row)
    }

    package var text: String {
        let all = [columns] + rows
        let widths = columns.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        func line(_ cells: [String]) -> String {
            zip(cells, widths).enumerated().map { index, cell in
                let blanks = String(repeating: " ", count: cell.1 - cell.0.count)
                return index == 0 ? cell.0 + blanks : blanks + cell.0
            }.joined(separator: "   ")
        }
        let rule = widths.map { String(repeating: "─", count: $0) }.joined(separator: "───")
        return ([line(columns), rule] + rows.map(line)).joined(separator: "\n")
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
}
