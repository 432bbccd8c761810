extension String {
    /// The text on one line of at most 600 characters: control characters are escaped and what is longer is cut off, so that a
    /// hostile name can neither forge a second line nor fill the terminal.
    package var singleLine: String { singleLine(limit: 600) }

    /// The same with a limit of its own, for a part of a message whose end must not be cut off.
    package func singleLine(limit: Int) -> String {
        var result = ""
        for (index, scalar) in unicodeScalars.enumerated() {
            if index == limit { return result + "…" }
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
