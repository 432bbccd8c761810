internal import Models
package import Rotation

/// A word or ratios by site; said in numbers, so that what a run has recorded is what it ran with.
extension ClipRatios: SettingValue {
    private static let noneWord = "none"
    private static let rotatedWord = "rotated"

    package static var expectation: String {
        "\(noneWord), \(rotatedWord), or SITE=RATIO, separated by commas, ratios \(accepted), each site once, of "
            + sites.map(\.rawValue).joined(separator: ", ")
    }
    package static var isText: Bool { true }

    package init?(settingText text: String) {
        self.init()
        guard text != Self.noneWord else { return }
        guard text != Self.rotatedWord else {
            self = .rotated
            return
        }
        guard let pairs = text.settingPairs else { return nil }
        var seen: Set<HookPoint> = []
        for (name, number) in pairs {
            guard let site = HookPoint(rawValue: String(name)), Self.sites.contains(site), seen.insert(site).inserted,
                let ratio = Double(settingText: String(number)), Self.accepts(ratio)
            else { return nil }
            self[site] = ratio
        }
    }

    package var settingText: String {
        let changed = Self.sites.filter { self[$0] != 1 }
        return changed.isEmpty
            ? Self.noneWord : changed.map { "\($0.rawValue)=\(self[$0].settingText)" }.joined(separator: ",")
    }
}
