/// A part of a pattern that names are matched against.
package enum Wildcard: Equatable, Sendable {
    case byte(UInt8)
    case anyByte
    /// Any number of bytes.
    case anything
}

extension [Wildcard] {
    /// Whether the pattern matches the whole name. Greedy, and back to the last ``Wildcard/anything`` only: time at most
    /// proportional to both lengths' product.
    package func matches(_ name: String) -> Bool {
        let name = Array<UInt8>(name.utf8)
        var (n, p) = (0, 0)
        var resume: (name: Int, pattern: Int)?
        while n < name.count {
            if p < count, self[p] == .anything {
                p += 1
                resume = (n, p)
            } else if p < count, self[p] == .anyByte || self[p] == .byte(name[n]) {
                (n, p) = (n + 1, p + 1)
            } else if let last = resume {
                resume = (last.name + 1, last.pattern)
                (n, p) = (last.name + 1, last.pattern)
            } else {
                return false
            }
        }
        return self[p...].allSatisfy { $0 == .anything }
    }
}
