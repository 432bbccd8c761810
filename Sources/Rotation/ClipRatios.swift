package import Models

/// Factors on the ranges in which activations and the KV cache are rounded, by site (docs/algorithms.md, section 2).
///
/// With a ratio c both ends of a range are c times as far from 0. Values outside are clamped, and steps are c times as wide.
/// Rotated values have thin tails, so that some c < 1 loses less in the tails than the finer steps gain. SpinQuant (arXiv
/// 2405.16406) has a_clip_ratio, k_clip_ratio and v_clip_ratio, with one ratio for all inputs of linears.
package struct ClipRatios: Sendable, Equatable {
    /// Where values are rounded, in the order of a block's forward pass: inputs of linears, keys and values.
    package static let sites: [HookPoint] = [.attentionInput, .key, .value, .outputInput, .mlpInput, .downInput]

    /// The extremes everywhere.
    package static let none = ClipRatios()

    /// Ratios for networks with all four rotations and 4 bits: one number per kind of site, which summarizes ratios learned for
    /// each site of each block (docs/rotation.md).
    package static let rotated: ClipRatios = {
        var result = ClipRatios()
        (result[.attentionInput], result[.mlpInput], result[.downInput]) = (0.93, 0.93, 0.85)
        (result[.key], result[.value]) = (0.95, 0.93)
        return result
    }()

    /// The ratios of sites where they are not 1.
    private var ratios: [HookPoint: Double] = [:]

    package init() {}

    /// Smaller ratios would leave nothing, and in the end a range that no float expresses.
    private static let range = 0.001...1.5
    /// The accepted numbers, in words.
    package static let accepted = "from \(range.lowerBound) to \(range.upperBound)"

    /// Whether a number can be a ratio.
    package static func accepts(_ ratio: Double) -> Bool { range.contains(ratio) }

    /// The ratio of a site.
    ///
    /// - Precondition: one of ``sites``, and a ratio that is accepted.
    package subscript(site: HookPoint) -> Double {
        get { ratios[site] ?? 1 }
        set {
            precondition(Self.sites.contains(site) && Self.accepts(newValue), "ratio \(newValue) at \(site.rawValue)")
            ratios[site] = newValue == 1 ? nil : newValue
        }
    }

    /// Only the ratios of sites that are rounded.
    ///
    /// - Parameters: bits of inputs of linears, of keys and of values; 16 and more leave values as they are.
    package func rounding(activations: Int, keys: Int, values: Int) -> ClipRatios {
        var result = self
        result.ratios = ratios.filter { site, _ in
            (site == .key ? keys : site == .value ? values : activations) < 16
        }
        return result
    }
}
