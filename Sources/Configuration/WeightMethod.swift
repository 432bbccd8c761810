internal import Calibration
package import Quantization

/// How weights become integers: one of `WeightQuantizations`, or that they are on the quantizer's grid already.
package struct WeightMethod: SettingValue {
    /// In `WeightQuantizations`; behind its end for ``stored``.
    private let place: UInt8

    package static let nearest = WeightMethod(place: 0)
    /// As integer `qat` leaves a folder's weights.
    package static let stored = WeightMethod(place: UInt8(WeightQuantizations.all.count))

    private init(place: UInt8) { self.place = place }

    /// With its own settings as they are by default; nil for ``stored``.
    var quantization: (any WeightQuantization)? {
        self == .stored ? nil : WeightQuantizations.all[Int(place)]
    }

    package var name: String { quantization?.name ?? Self.storedName }
    private static let storedName = "stored"

    package static var expectation: String {
        "one of " + (WeightQuantizations.names + [storedName]).joined(separator: ", ")
    }

    package init?(settingText text: String) {
        guard let place = (WeightQuantizations.names + [Self.storedName]).firstIndex(of: text) else { return nil }
        self.place = UInt8(place)
    }

    package var settingText: String { name }
}

extension QuantizationSettings {
    /// `quantization.weights.gptq.*`
    package struct GPTQSettings: Sendable, Equatable {
        /// Part of the mean diagonal of H that is added to its diagonal.
        package var damping: Double
        /// Columns of the largest inputs first.
        package var activationOrder: Bool
        /// Part of the inputs' deviation from the full-precision network's that weights make up for; nil: as is best where
        /// inputs deviate (docs/rotation.md).
        package var compensation: Double?

        init(_ key: Settings) {
            let usual = GPTQ()
            damping = key(
                "damping", usual.damping, "of the inputs' mean square, added to that of each input before errors are passed on",
                .between(0, 1))
            activationOrder = key(
                "activation_order", usual.byActivation,
                "round the columns of the largest inputs first; the ranges of groups are then those of the weight as it was")
            compensation = key.optional(
                "compensation", orElse: "auto", default: nil,
                "part of the change that rounding causes in a layer's inputs, against the full-precision network's, that its "
                    + "weights make up for before they are rounded; 0: none; auto: 0.5, with calibration.mode=full-precision 0",
                .range(0...1))
        }
    }
}

extension RunConfig {
    /// How weights become integers; nil where they are on the quantizer's grid already.
    package var weightQuantization: (any WeightQuantization)? { quantization.weights.method.quantization.map(configured) }

    /// The ways that `quantize.recipe=auto` compares.
    package var weightCandidates: [any WeightQuantization] { WeightQuantizations.all.filter(\.isTried).map(configured) }

    /// Columns out of order that share ranges would need a list of their own in the file, which most programs that run such
    /// weights do not read: groups are neighbors as stored.
    private func configured(_ method: any WeightQuantization) -> any WeightQuantization {
        guard method is GPTQ else { return method }
        let gptq = quantization.weights.gptq
        return GPTQ(
            damping: gptq.damping, byActivation: gptq.activationOrder, staticGroups: gptq.activationOrder,
            compensation: gptq.compensation ?? (calibration.mode == .sequential ? 0.5 : 0))
    }
}

extension QuantizationSettings.Weights {
    /// The quantizer of weights at other bits than configured, perhaps; nil where there is nothing to round.
    package func quantizer(bits: Int) -> WeightQuantizer? {
        guard bits < 16 else { return nil }
        return WeightQuantizer(
            QuantizerSpec(bits: bits, symmetric: symmetric, granularity: granularity), searchesClip: clip == .search)
    }
}
