package import Autograd

/// A named place in a transformer's forward pass where a job may change the value: where quantisers and online rotations act.
package enum Site: Hashable, Sendable {
    /// Token embeddings entering the residual stream.
    case embedding
    /// Normalised input that q, k and v share.
    case attentionInput(layer: Int)
    /// Queries after the rotary embedding.
    case query(layer: Int)
    /// Keys after the rotary embedding.
    case key(layer: Int)
    /// Values, as projected.
    case value(layer: Int)
    /// Attention's result, the input of the output projection.
    case outputInput(layer: Int)
    /// What attention adds to the residual stream.
    case attentionResidual(layer: Int)
    /// Normalised input that gate and up share.
    case mlpInput(layer: Int)
    /// Input of the down projection.
    case downInput(layer: Int)
    /// What the feed-forward network adds to the residual stream.
    case mlpResidual(layer: Int)
    /// Normalised input of the language model head.
    case headInput
}

/// What a job does at the sites of a model.
package protocol SiteTransform {
    func transform(_ x: Variable, at site: Site, on tape: Tape) -> Variable
}

/// The model as it is.
package struct Untouched: SiteTransform {
    package init() {}
    package func transform(_ x: Variable, at site: Site, on tape: Tape) -> Variable { x }
}
