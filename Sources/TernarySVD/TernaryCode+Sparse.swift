/// The form of factors that satisfy 2:4.
extension TernaryCoder {
    /// V, row by row. A unit's place is counted from the last unit's own place, since the digits of a column are beside each
    /// other. The chances that this place is passed over depend on how many units it already has.
    mutating func sparseRight() {
        let (n, k) = (parts.columns, parts.componentCount)
        var (isUnit, isNegative) = (AdaptiveBit(), AdaptiveBit())
        var passes = [AdaptiveBit](repeating: AdaptiveBit(), count: 16)
        var entries = [Inheritance](repeating: Inheritance(), count: TernarySparsity.most)
        var (last, there) = (0, 0)
        for j in 0..<k {
            let row = j * n..<(j + 1) * n
            let places = row.filter { parts.v[$0] != 0 }
            guard coder.code(places.count == 1, &isUnit) else {
                sparseRow(row, &entries)
                units.append(nil)
                continue
            }
            let wanted = places.first.map { ($0 - j * n - last + n) % n } ?? 0
            var passed = 0
            while coder.code(passed < wanted, &passes[passed == 0 ? min(there, passes.count - 1) : 0]) {
                passed += 1
                guard passed < n else { return isWhole = false }
            }
            (last, there) = ((last + passed) % n, passed == 0 ? there + 1 : 1)
            parts.v[j * n + last] = coder.code(parts.v[j * n + last] < 0, &isNegative) ? -1 : 1
            units.append(last)
        }
    }

    /// A row of V that is not a unit: chances depend on how many neighbors before an entry are not 0.
    private mutating func sparseRow(_ row: Range<Int>, _ entries: inout [Inheritance]) {
        for number in entries.indices { entries[number].begin() }
        var present = 0
        for (column, place) in row.enumerated() {
            if column % TernarySparsity.neighbors == 0 { present = 0 }
            guard present < TernarySparsity.most else {
                isWhole = isWhole && parts.v[place] == 0
                continue
            }
            parts.v[place] = entry(parts.v[place], &entries[present])
            present += parts.v[place] == 0 ? 0 : 1
        }
    }

    /// Chances for the components of one kind, as in the other form; also whether an entry is not 0 where the previous
    /// component with the same unit has a non-zero entry. For digits of powers of 2 this never happens.
    private struct Kind {
        var alone = [Inheritance](repeating: Inheritance(), count: TernarySparsity.most)
        var beside = Inheritance(), adjacent = Inheritance(), agrees = Inheritance()
        mutating func begin() {
            for number in alone.indices { alone[number].begin() }
            beside.begin()
            adjacent.begin()
            agrees.begin()
        }
    }

    /// How many components with the same unit follow, which gives the value of a digit; nil where V's row is not a unit.
    var places: [Int?] {
        var following: [Int: Int] = [:]
        var result = [Int?](repeating: nil, count: units.count)
        for (j, unit) in units.enumerated().reversed() {
            guard let unit else { continue }
            result[j] = following[unit, default: 0]
            following[unit, default: 0] += 1
        }
        return result
    }

    /// For components with the same unit, in each row of U: the last non-zero, and the last entry.
    private struct Context {
        var nonzeros: [Int8], entries: [Int8]
    }

    /// U, column by column, by kinds of the components' places.
    mutating func sparseLeft() {
        let m = parts.rows
        let (most, places) = (7, places)
        var kinds = [Kind](repeating: Kind(), count: most + 2)
        var contexts: [Int: Context] = [:]
        var present = [UInt8](repeating: 0, count: m)
        let none = [Int8](repeating: 0, count: m)
        for (j, unit) in units.enumerated() {
            if j % TernarySparsity.neighbors == 0 { present = [UInt8](repeating: 0, count: m) }
            var context = unit.flatMap { contexts.removeValue(forKey: $0) } ?? Context(nonzeros: none, entries: none)
            let kind = places[j].map { min($0, most) } ?? most + 1
            kinds[kind].begin()
            sparseColumn(j * m..<(j + 1) * m, &kinds[kind], &present, &context)
            if let unit { contexts[unit] = context }
        }
    }

    private mutating func sparseColumn(
        _ column: Range<Int>, _ kind: inout Kind, _ present: inout [UInt8], _ context: inout Context
    ) {
        for (i, place) in column.enumerated() {
            let (value, before) = (parts.u[place], context.nonzeros[i])
            guard present[i] < TernarySparsity.most else {
                isWhole = isWhole && value == 0
                context.entries[i] = 0
                continue
            }
            var result: Int8 = 0
            if before == 0 {
                result = entry(value, &kind.alone[Int(present[i])])
            } else if context.entries[i] != 0
                ? kind.adjacent.code(value != 0, &coder) : kind.beside.code(value != 0, &coder)
            {
                result = kind.agrees.code(value == before, &coder) ? before : -before
            }
            parts.u[place] = result
            context.entries[i] = result
            guard result != 0 else { continue }
            context.nonzeros[i] = result
            present[i] += 1
        }
    }
}
