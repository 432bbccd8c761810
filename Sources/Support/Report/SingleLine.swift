extension String {
    /// Control characters replaced and the whole cut at 500 characters: a key from a hostile file neither forges a second line
    /// nor fills the terminal.
    package var singleLine: String {
        var scalars = String.UnicodeScalarView()
        for scalar in unicodeScalars.prefix(500) {
            let isControl =
                scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || scalar == "\u{2028}" || scalar == "\u{2029}"
            scalars.append(isControl ? " " : scalar)
        }
        return unicodeScalars.count > 500 ? String(scalars) + "…" : String(scalars)
    }
}

extension String {
    /// Control characters escaped and the whole cut at 600 characters, so that a hostile name can neither forge a second
    /// line nor fill the terminal.
    package var onOneLine: String {
        var result = ""
        for (index, scalar) in unicodeScalars.enumerated() {
            if index == 600 { return result + "…" }
            let isControl =
                scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || [0x2028, 0x2029].contains(scalar.value)
            if isControl {
                result += "\\u{" + String(scalar.value, radix: 16) + "}"
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
