/// What `quantize` does to a network before it rounds it, and how that is chosen.
package struct QuantizeSettings: Sendable, Equatable {
    /// What is merged into the weights before they are rounded: nothing, SmoothQuant's scales, random Hadamards, learned
    /// rotations, or the scales that balance channels.
    package enum Transform: String, Choice { case none, smoothquant, hadamard, learned, balance }

    /// How the transform and the method of rounding are chosen.
    package enum Recipe: String, Choice {
        /// As the other settings say.
        case given
        /// The best of several, on text held out.
        case auto
    }

    package var recipe: Recipe
    /// Sequences that recipes are compared on.
    package var heldOut: Int
    /// Where no `rotation.path` is given.
    package var transform: Transform
    /// Of R1 and R2, where they are learned.
    package var learningSteps: Int
    /// Whether R3 and R4, computed at run time, may be used.
    package var online: Bool
    /// Whether channels are balanced before everything else.
    package var balance: Bool

    init(_ key: Settings) {
        recipe = key(
            "recipe", .given,
            "given: as the other settings say; auto: the network as stored, smoothed (SmoothQuant), and with R1 and R2, each "
                + "rounded to nearest and by GPTQ: writes the one of the least divergence on text held out"
        )
        heldOut = key(
            "held_out", 16, "auto: sequences that recipes are compared on, those after the ones calibrated on",
            .range(1...1_000_000))
        transform = key(
            "transform", formerly: "quantize.rotation", .none,
            "without rotation.path: round the network as stored (none), with norms and weights scaled by SmoothQuant, with R1 "
                + "and R2 as random Hadamards or learned without a backward pass, or with channels balanced alone"
        )
        learningSteps = key(
            "learning_steps", 100, "transform=learned and auto: steps that R1 and R2 are learned in", .range(1...10_000_000))
        online = key(
            "online", false,
            "use R3 and R4 at run time as rotation.r3 and r4 say; most other programs cannot run such a model")
        balance = key(
            "balance", false,
            "before that, in every recipe, scale queries against keys, values against output projections, and the feed-forward "
                + "networks' inner values against down projections, so that rounding them costs least; reads "
                + "calibration.sequences"
        )
    }
}

extension RunConfig {
    /// What `quantize` does before any other transform.
    package var leadingTransforms: [QuantizeSettings.Transform] { quantize.balance || rotation.balance ? [.balance] : [] }

    /// What `quantize` does before rounding, in order, where the recipe is given.
    package var quantizeTransforms: [QuantizeSettings.Transform] {
        leadingTransforms + [rotation.path == nil ? quantize.transform : .learned]
    }
}
