internal import Support

/// A size of memory: a number of bytes, or of KiB, MiB, GiB or TiB, such as `24GiB`.
package struct ByteCount: SettingValue, Comparable {
    package static let expectation = "a size such as 24GiB"
    private static let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]

    package let bytes: Int

    package init(_ bytes: Int) { self.bytes = bytes }

    /// Fractions are accepted before a unit; more than an exabyte is not.
    package init?(settingText text: String) {
        let unit = Self.units.first { text.hasSuffix($0.0) }
        guard let number = Double(settingText: String(text.dropLast(unit?.0.count ?? 0))) else { return nil }
        let bytes = number * Double(unit?.1 ?? 1)
        guard bytes >= 0, bytes <= 1e18, unit != nil || number == number.rounded() else { return nil }
        self.bytes = Int(bytes)
    }

    package var settingText: String {
        guard bytes > 0, let unit = Self.units.first(where: { bytes % $0.1 == 0 }) else { return String(bytes) }
        return "\(bytes / unit.1)\(unit.0)"
    }

    /// By number of bytes.
    package static func < (a: ByteCount, b: ByteCount) -> Bool { a.bytes < b.bytes }

    /// For people: three digits or so, in GiB, or MiB where that is too coarse.
    package var rounded: String {
        let gibibytes = Double(bytes) / Double(1 << 30)
        if gibibytes >= 10 { return gibibytes.formatted(decimals: 1) + " GiB" }
        if gibibytes >= 1 { return gibibytes.formatted(decimals: 2) + " GiB" }
        return (Double(bytes) / Double(1 << 20)).formatted(decimals: 0) + " MiB"
    }
}
