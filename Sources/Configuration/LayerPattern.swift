/// A choice of layers by name: one or several patterns, separated by commas, in which `*` stands for any characters, such as
/// `*.mlp.*` or `model.layers.0.*,*.down_proj`.
package struct LayerPattern: SettingValue {
    package static let expectation = "layer names in which * stands for anything"
    package static let isText = true
    package static let all = LayerPattern(text: "*")

    package let settingText: String

    private init(text: String) { settingText = text }

    package init?(settingText text: String) {
        guard !text.isEmpty, text.utf8.count <= 4096, !text.utf8.contains(0) else { return nil }
        self.init(text: text)
    }

    /// The patterns between the commas.
    package var parts: [LayerPattern] {
        settingText.split(separator: ",", omittingEmptySubsequences: false).map { LayerPattern(text: String($0)) }
    }

    /// - Parameter name: of a layer, such as `model.layers.0.mlp.up_proj`.
    package func matches(_ name: String) -> Bool {
        settingText.split(separator: ",").contains { Self.matches(Array(name.utf8), Array($0.utf8).trimmed) }
    }

    /// Greedy matching that goes back to the last star only: time at most proportional to both lengths' product.
    private static func matches(_ name: [UInt8], _ pattern: [UInt8]) -> Bool {
        let star = UInt8(ascii: "*")
        var (n, p) = (0, 0)
        var resume: (name: Int, pattern: Int)?
        while n < name.count {
            if p < pattern.count, pattern[p] == star {
                p += 1
                resume = (n, p)
            } else if p < pattern.count, pattern[p] == name[n] {
                (n, p) = (n + 1, p + 1)
            } else if let last = resume {
                resume = (last.name + 1, last.pattern)
                (n, p) = (last.name + 1, last.pattern)
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == star }
    }
}

extension [UInt8] {
    fileprivate var trimmed: [UInt8] {
        let blank = UInt8(ascii: " ")
        return Array(drop { $0 == blank }.reversed().drop { $0 == blank }.reversed())
    }
}
