/// What `train` and `qat` update the network's parameters with.
package struct OptimizerSettings: Sendable, Equatable {
    package var weightDecay: Double
    /// Largest norm of all gradients together; nil for no limit.
    package var clipNorm: Double?
    package var beta1: Double
    package var beta2: Double
    package var epsilon: Double
    package var momentum: Double
    package var shard: Bool

    init(_ key: Settings) {
        weightDecay = key(
            "weight_decay", 0.01,
            "weight decay of matrices except the embedding: decoupled in AdamW, added to the gradient in SGD",
            .from(0, below: 1))
        clipNorm = key.optional(
            "clip_norm", orElse: "none", default: 1, "gradients whose norm is larger are scaled down to it",
            .above(0, upTo: 1e6))
        beta1 = key("beta1", 0.9, "AdamW: beta1, decay of the first moment", .from(0, below: 1))
        beta2 = key("beta2", 0.95, "AdamW: beta2, decay of the second moment", .from(0, below: 1))
        epsilon = key("epsilon", 1e-8, "AdamW: added to the root of the squared gradient", .above(0, upTo: 1))
        momentum = key("momentum", 0.9, "SGD: momentum", .from(0, below: 1))
        shard = key("shard", false, "each rank keeps and updates its share of the optimizer's state; same results, less memory")
    }
}

/// What a network is trained to run with.
package enum QatMethod: String, Choice {
    /// Ternary factors, projected anew after every step.
    case ternary
    /// Weights and activations of quantization.*, with straight-through gradients.
    case integer
}

/// `qat.*`: what a network is trained to run with, and what it learns from.
package struct QatSettings: Sendable, Equatable {
    package var method: QatMethod
    /// Learn the full-precision network's predictions instead of the text's next tokens.
    /// nil: see ``RunConfig/distills``.
    package var distill: Bool?
    /// Learned rotations to merge before training; nil for none.
    package var rotations: String?

    init(_ key: Settings) {
        method = key(
            "method", .ternary, "ternary: factors of ternary.*; integer: straight-through quantizers of quantization.*")
        distill = key.optional(
            "distill", orElse: "auto",
            "learn the full-precision network's predictions (KL) instead of the text's tokens; auto: where it draws the text "
                + "itself"
        )
        rotations = key.path(
            "rotations", orElse: "none", "integer: rotations.safetensors or R.bin to merge into the weights first")
    }
}

extension RunConfig {
    /// Whether `qat` learns from the full-precision network's predictions. Of text that the network has drawn itself they say
    /// more than the few tokens drawn, which a network in training would soon memorize (LLM-QAT, arXiv 2305.17888, section
    /// 3.2).
    package var distills: Bool { qat.distill ?? (data.train.path == nil) }
}
