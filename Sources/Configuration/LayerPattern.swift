internal import Support

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
        settingText.split(separator: ",").contains { part in
            Array(part.utf8).trimmed.map { $0 == UInt8(ascii: "*") ? Wildcard.anything : .byte($0) }.matches(name)
        }
    }
}

extension [UInt8] {
    fileprivate var trimmed: [UInt8] {
        let blank = UInt8(ascii: " ")
        return Array(drop { $0 == blank }.reversed().drop { $0 == blank }.reversed())
    }
}
