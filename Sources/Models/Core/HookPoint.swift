package import Autograd

/// A named place in a network's forward pass where a job may change the value: where quantizers and online rotations act, and
/// what linear layers read from and write to. Settings and files call it by its raw value.
package enum HookPoint: String, Hashable, Sendable, CaseIterable {
    /// Embeddings entering the residual stream.
    case embedding
    /// Normalized input that q, k and v share.
    case attentionInput = "attention_input"
    /// Queries, after a rotary embedding where there is one.
    case query
    /// Keys, after a rotary embedding where there is one.
    case key
    /// Values, as projected.
    case value
    /// Attention's result, the input of the output projection.
    case outputInput = "output_input"
    /// What attention adds to the residual stream.
    case attentionResidual = "attention_residual"
    /// Normalized input of the feed-forward network.
    case mlpInput = "mlp_input"
    /// Input of the feed-forward network's last projection.
    case downInput = "down_input"
    /// What the feed-forward network adds to the residual stream.
    case mlpResidual = "mlp_residual"
    /// Normalized input of the language model head.
    case headInput = "head_input"

    /// Whether the value is the residual stream, normalized: R1 acts on the input side of the linears that read it.
    package var readsResidual: Bool {
        switch self {
        case .attentionInput, .mlpInput, .headInput: true
        default: false
        }
    }

    /// Whether the value is added to the residual stream: R1 acts on the output side of what writes it.
    package var writesResidual: Bool {
        switch self {
        case .embedding, .attentionResidual, .mlpResidual: true
        default: false
        }
    }
}

/// What a job does at the hook points of a network.
package protocol HookTransform {
    /// - Parameter block: the block's place in the model; nil at the model's ends.
    func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable
}

/// The network as it is.
package struct IdentityHooks: HookTransform {
    package init() {}

    /// x itself.
    package func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable { x }
}
