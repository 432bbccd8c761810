extension [UInt8] {
    /// Whether `pattern` is found at `position`.
    func holds(_ pattern: [UInt8], at position: Int) -> Bool {
        guard position + pattern.count <= count else { return false }
        for i in pattern.indices where self[position + i] != pattern[i] { return false }
        return true
    }
}
