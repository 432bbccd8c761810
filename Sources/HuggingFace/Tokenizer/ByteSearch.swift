extension [UInt8] {
    /// The text with each occurrence of `pattern`, from the left, replaced.
    ///
    /// - Precondition: `pattern` is not empty.
    func replacing(_ pattern: [UInt8], with content: [UInt8]) -> [UInt8] {
        guard let first = pattern.first else { preconditionFailure("an empty pattern occurs everywhere") }
        var result: [UInt8] = []
        result.reserveCapacity(count)
        var position = 0
        while position < count {
            if self[position] == first, holds(pattern, at: position) {
                result += content
                position += pattern.count
            } else {
                result.append(self[position])
                position += 1
            }
        }
        return result
    }

    /// Whether `pattern` is found at `position`.
    func holds(_ pattern: [UInt8], at position: Int) -> Bool {
        guard position + pattern.count <= count else { return false }
        for i in pattern.indices where self[position + i] != pattern[i] { return false }
        return true
    }
}
