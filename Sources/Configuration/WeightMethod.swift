package import Quantization

/// How weights become integers: one of `WeightQuantizations`, or that they are on the quantizer's grid already.
package struct WeightMethod: SettingValue {
    /// In `WeightQuantizations`; behind its end for ``stored``.
    private let place: UInt8

    package static let nearest = WeightMethod(place: 0)
    /// As integer `qat` leaves a folder's weights.
    package static let stored = WeightMethod(place: UInt8(WeightQuantizations.all.count))

    private init(place: UInt8) { self.place = place }

    /// nil for ``stored``.
    package var quantization: (any WeightQuantization)? {
        self == .stored ? nil : WeightQuantizations.all[Int(place)]
    }

    package var name: String { quantization?.name ?? "stored" }

    package static var expectation: String {
        "one of " + (WeightQuantizations.names + [stored.name]).joined(separator: ", ")
    }

    package init?(settingText text: String) {
        guard let place = (WeightQuantizations.names + [Self.stored.name]).firstIndex(of: text) else { return nil }
        self.place = UInt8(place)
    }

    package var settingText: String { name }
}

extension QuantizationSettings.Weights {
    /// The quantizer of weights at other bits than configured, perhaps; nil where there is nothing to round.
    package func quantizer(bits: Int) -> WeightQuantizer? {
        guard bits < 16 else { return nil }
        return WeightQuantizer(
            QuantizerSpec(bits: bits, symmetric: symmetric, granularity: granularity), searchesClip: clip == .search)
    }
}
