package import HuggingFace
package import TensorCore

/// The linear layers of a folder that are kept in another form than as matrices of floats.
package protocol PackedWeights: Sendable {
    /// What they are, such as `ternary factors`.
    var form: String { get }
    /// The parameters that are kept so, by name.
    var weights: Set<String> { get }
    /// The checkpoint's tensors that they are kept in; none where another file has them.
    var tensors: Set<String> { get }
    /// In files.
    func byteCount(of weight: String) -> Int
    func read(_ weight: String) throws -> any LinearOperator
}

/// Finds the packed weights of a folder; nil where all weights are floats.
package typealias PackedWeightsReader = (Checkpoint, HFConfig, Architecture) throws -> (any PackedWeights)?
