internal import Autograd
package import Models
package import TensorCore

extension Parameters where Value: TensorValue {
    /// Whether a gain of this stage's norms, of those that ``fusingNorms(_:)`` folds, is not 1.
    package func hasNormGains(_ architecture: Architecture) -> Bool {
        func isGain(_ norm: Architecture.NormRule, in group: ParameterGroup<Value>) -> Bool {
            group.index(norm.gain).map { group[$0].tensor.elements.contains { $0 != 1 } } ?? false
        }
        return blocks.enumerated().contains { index, block in
            architecture.blocks[firstBlock + index].norms.contains { isGain($0, in: block) }
        } || architecture.norms.contains { $0.output == .headInput && isGain($0, in: exit) }
    }
}

extension Parameters {
    /// The same function with every norm's gain folded into the linears that read the norm (W ← W·diag γ, γ ← 1) and the
    /// language model head untied from the embedding: the form in which R1 commutes with the norms (SpinQuant, section 3.1).
    ///
    /// Of parameters that nobody else holds, no more than a block exists twice at a time.
    package consuming func fusingNorms(_ architecture: Architecture) -> Self where Value: TensorValue {
        for index in blocks.indices {
            for norm in architecture.blocks[firstBlock + index].norms { blocks[index].fuse(norm) }
        }
        guard isLast else { return self }
        for norm in architecture.norms {
            guard norm.output == .headInput, let index = exit.index(norm.gain) else { continue }
            untie(architecture.head, head: logitWeight.scaledColumns(by: exit[index].tensor))
            exit[index] = exit[index].mapped { $0.fill(1) }
        }
        return self
    }
}

extension ParameterGroup where Value: TensorValue {
    /// W ← W·diag γ of every linear layer that reads the norm, γ ← 1.
    fileprivate mutating func fuse(_ norm: Architecture.NormRule) {
        guard let index = index(norm.gain) else { preconditionFailure("there is no norm \(prefix)\(norm.gain)") }
        let gain = self[index].tensor
        for linear in specs.indices where specs[linear].ports?.reads == norm.output {
            self[linear] = self[linear].scaledColumns(by: gain)
        }
        self[index] = self[index].mapped { $0.fill(1) }
    }
}

extension TensorValue {
    /// Column j times factors[j].
    fileprivate func scaledColumns(by factors: Tensor) -> Self {
        precondition(factors.count == shape.last, "\(factors.count) factors for columns of \(shape)")
        return mapped { weight in
            let (target, source, columns) = (weight.mutablePointer, factors.pointer, weight.columns)
            for row in 0..<weight.rows {
                for column in 0..<columns { target[row * columns + column] *= source[column] }
            }
        }
    }
}
