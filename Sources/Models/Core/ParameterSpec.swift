/// A parameter of a network: its name in a checkpoint, its shape, and what it is to the network.
package struct ParameterSpec: Sendable, Equatable {
    /// What a parameter is to the network.
    package enum Role: Sendable, Equatable {
        /// A table [vocabulary, h] looked up by token.
        case embedding
        /// A table looked up by position.
        case positions
        /// The weight [out, in] of a linear layer; see ``Ports``.
        case linear(Ports)
        /// A matrix at an end of the network that is no layer of a block: it stays in floats.
        case projection
        /// Added to the output of the linear layer with this weight.
        case bias(of: String)
        /// A norm's factors.
        case gain
        /// What a norm adds.
        case shift
        /// The matrix [vocabulary, h] that makes logits.
        case head
    }

    /// Where a linear layer stands: what it reads and, where that has a name, what it writes.
    package struct Ports: Sendable, Equatable {
        package let reads: HookPoint
        package let writes: HookPoint?

        package init(reads: HookPoint, writes: HookPoint? = nil) { (self.reads, self.writes) = (reads, writes) }
    }

    /// As in the checkpoint; of a block's parameter, without the block's prefix.
    package let name: String
    package let shape: [Int]
    package let role: Role

    package init(_ name: String, _ shape: [Int], _ role: Role) { (self.name, self.shape, self.role) = (name, shape, role) }

    /// A linear layer's ports; nil for any other parameter.
    package var ports: Ports? { if case .linear(let ports) = role { ports } else { nil } }
    /// Of a weight: the name without `.weight`.
    package var layerName: String { String(name.dropLast(".weight".count)) }
    package var count: Int { shape.reduce(1, *) }
}

/// The spec of a linear layer, and of its bias where it has one.
package func linearSpecs(
    _ name: String, _ out: Int, _ into: Int, bias: Bool, reads: HookPoint, writes: HookPoint? = nil
) -> [ParameterSpec] {
    let weight = ParameterSpec(name + ".weight", [out, into], .linear(.init(reads: reads, writes: writes)))
    return bias ? [weight, ParameterSpec(name + ".bias", [out], .bias(of: weight.name))] : [weight]
}
