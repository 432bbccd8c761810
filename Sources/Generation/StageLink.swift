package import TensorCore

/// The messages between the stages of a network that generates tokens. All calls but those of the whole network are of all
/// stages, in the same order.
package protocol StageLink {
    /// Whether tokens enter at this stage.
    var isFirst: Bool { get }
    /// Whether logits come from this stage.
    var isLast: Bool { get }
    /// The output of the stage before, of this shape.
    func receive(_ shape: [Int]) throws -> Tensor
    /// Hands this stage's output to the next.
    func send(_ hidden: Tensor) throws
    /// What the last stage has chosen, on all stages.
    func share(_ token: Int32?) throws -> Int32?
    /// The sum over the stages, on all of them.
    func sum(_ value: Int) throws -> Int
}

/// A network in one piece.
package struct WholeNetwork: StageLink {
    package init() {}

    package var isFirst: Bool { true }
    package var isLast: Bool { true }

    /// Never called: there is no stage before.
    package func receive(_ shape: [Int]) -> Tensor { preconditionFailure("there is no stage before") }

    /// Never called: there is no stage after.
    package func send(_ hidden: Tensor) { preconditionFailure("there is no stage after") }

    /// The token itself.
    package func share(_ token: Int32?) -> Int32? { token }

    /// The value itself.
    package func sum(_ value: Int) -> Int { value }
}
