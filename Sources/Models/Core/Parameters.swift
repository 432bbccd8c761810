package import Autograd

/// The values of some parameters of a model that stand together: a block's, or those of one of its ends.
package struct ParameterGroup<Value> {
    /// Of the names in a checkpoint.
    package let prefix: String
    package private(set) var specs: [ParameterSpec]
    package private(set) var values: [Value]

    /// - Precondition: as many values as specs.
    package init(prefix: String = "", _ specs: [ParameterSpec], _ values: [Value]) {
        precondition(specs.count == values.count, "\(values.count) values for \(specs.count) parameters")
        (self.prefix, self.specs, self.values) = (prefix, specs, values)
    }

    /// By name without the prefix; nil where the group has no such parameter.
    package subscript(_ name: String) -> Value? { index(name).map { values[$0] } }

    /// By place in ``specs``.
    package subscript(_ index: Int) -> Value {
        get { values[index] }
        _modify { yield &values[index] }
    }

    /// The parameter of this name. - Precondition: there is one.
    package func required(_ name: String) -> Value {
        guard let value = self[name] else { preconditionFailure("there is no parameter \(prefix)\(name)") }
        return value
    }

    /// A linear layer by its name, with its bias where it has one.
    package func linear(_ name: String) -> LinearLayer<Value> {
        LinearLayer(weight: required(name + ".weight"), bias: self[name + ".bias"])
    }

    /// Where the parameter of this name is; nil where there is none.
    package func index(_ name: String) -> Int? { specs.firstIndex { $0.name == name } }

    /// Where the first parameter of this role is; nil where there is none.
    package func index(_ role: ParameterSpec.Role) -> Int? { specs.firstIndex { $0.role == role } }

    /// Where the bias of the linear layer with this weight is.
    package func biasIndex(of weight: Int) -> Int? { index(.bias(of: specs[weight].name)) }

    /// Adds a parameter behind the others.
    package mutating func append(_ spec: ParameterSpec, _ value: Value) {
        specs.append(spec)
        values.append(value)
    }

    /// Removes the parameter at this place.
    package mutating func remove(_ index: Int) {
        specs.remove(at: index)
        values.remove(at: index)
    }

    /// The same parameters with each value replaced; `transform` gets the checkpoint's name of each.
    package func map<New, Failure>(
        _ transform: (_ name: String, _ spec: ParameterSpec, Value) throws(Failure) -> New
    ) throws(Failure) -> ParameterGroup<New> {
        var new: [New] = []
        for (spec, value) in zip(specs, values) { new.append(try transform(prefix + spec.name, spec, value)) }
        return ParameterGroup<New>(prefix: prefix, specs, new)
    }
}

/// The values of a stage of a network: tensors at rest, variables on a tape, or anything else there is one of per parameter.
///
/// A stage is a stretch of consecutive blocks; the first stage also has the entry, the last one the exit. A whole model is the
/// stage of all blocks, and whatever can be done to a model (rotate, quantize, decompose) can be done to a stage.
package struct Parameters<Value> {
    /// The place in the model of the first of `blocks`.
    package let firstBlock: Int
    /// Empty but on the first stage.
    package var entry: ParameterGroup<Value>
    package var blocks: [ParameterGroup<Value>]
    /// Empty but on the last stage, and there too where the embedding of the same stage serves as head and nothing stands
    /// before it. Holds a tied embedding where the first stage is another one.
    package var exit: ParameterGroup<Value>
    /// Whether logits come from here.
    package let isLast: Bool

    package init(
        firstBlock: Int, entry: ParameterGroup<Value>, blocks: [ParameterGroup<Value>], exit: ParameterGroup<Value>,
        isLast: Bool
    ) {
        (self.firstBlock, self.entry, self.blocks, self.exit, self.isLast) = (firstBlock, entry, blocks, exit, isLast)
    }

    /// Whether tokens enter here.
    package var isFirst: Bool { !entry.specs.isEmpty }
    /// The places in the model of the blocks held.
    package var blockRange: Range<Int> { firstBlock..<firstBlock + blocks.count }

    /// Whether the embedding serves as head. - Precondition: the last stage.
    package var tiesHead: Bool {
        precondition(isLast, "blocks \(blockRange) make no logits")
        return exit.index(.head) == nil
    }

    /// The matrix that makes logits. - Precondition: the last stage.
    package var logitWeight: Value {
        if let head = exit.index(.head) ?? exit.index(.embedding) { return exit[head] }
        guard isLast, let table = entry.index(.embedding) else { preconditionFailure("blocks \(blockRange) make no logits") }
        return entry[table]
    }

    /// Gives the last stage a head that is separate from the embedding.
    package mutating func untie(_ spec: ParameterSpec, head: Value) {
        if let index = exit.index(.head) {
            exit[index] = head
            return
        }
        // A last stage held a tied embedding as its head only.
        if let copy = exit.index(.embedding) { exit.remove(copy) }
        exit.append(spec, head)
    }

    /// The same parameters with each value replaced, in the checkpoint's order; `transform` gets the checkpoint's name of each.
    package func mapSpecs<New, Failure>(
        _ transform: (_ name: String, _ spec: ParameterSpec, Value) throws(Failure) -> New
    ) throws(Failure) -> Parameters<New> {
        let entry = try entry.map(transform)
        var blocks: [ParameterGroup<New>] = []
        for block in self.blocks { blocks.append(try block.map(transform)) }
        return Parameters<New>(
            firstBlock: firstBlock, entry: entry, blocks: blocks, exit: try exit.map(transform), isLast: isLast)
    }

    /// The same parameters with each value replaced by its name, as ``mapSpecs(_:)`` without the spec.
    package func map<New, Failure>(_ transform: (String, Value) throws(Failure) -> New) throws(Failure) -> Parameters<New> {
        try mapSpecs { name, _, value throws(Failure) in try transform(name, value) }
    }

    /// The weights of the linear layers replaced by one rule, all other values (embedding, head, norms, biases) by another.
    package func mapLinears<New>(weight: (Value) -> New, other: (Value) -> New) -> Parameters<New> {
        mapSpecs { _, spec, value in spec.ports == nil ? other(value) : weight(value) }
    }

    /// Every value with its name in the checkpoint, in the checkpoint's order.
    package var named: [(name: String, value: Value)] {
        var result: [(String, Value)] = []
        _ = map { name, value in result.append((name, value)) }
        return result
    }
}

extension ParameterGroup: Sendable where Value: Sendable {}
extension Parameters: Sendable where Value: Sendable {}

extension Architecture {
    /// Every parameter's spec, of the stage that holds these blocks.
    ///
    /// - Parameter tied: whether the embedding serves as head too; nil: as the architecture says.
    package func parameters(_ stage: Range<Int>? = nil, tied: Bool? = nil) -> Parameters<ParameterSpec> {
        let stage = stage ?? 0..<blocks.count
        precondition(
            !stage.isEmpty && stage.lowerBound >= 0 && stage.upperBound <= blocks.count, "blocks \(stage) of \(blocks.count)")
        func group(_ prefix: String, _ specs: [ParameterSpec]) -> ParameterGroup<ParameterSpec> {
            ParameterGroup(prefix: prefix, specs, specs)
        }
        let (isFirst, isLast, tied) = (stage.lowerBound == 0, stage.upperBound == blocks.count, tied ?? tiesHead)
        var exit = self.exit
        if tied {
            exit.removeAll { $0.role == .head }
            if !isFirst, let embedding { exit.append(embedding) }
        }
        return Parameters(
            firstBlock: stage.lowerBound, entry: group("", isFirst ? entry : []),
            blocks: blocks[stage].map { group($0.prefix, $0.parameters) }, exit: group("", isLast ? exit : []), isLast: isLast)
    }
}
