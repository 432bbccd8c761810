internal import Autograd
internal import LinearAlgebra
package import Models
package import TensorCore

extension Parameters where Value: TensorValue {
    /// Whether ``fusingNorms(_:)`` finds something to fold: a gain that is not 1 or a shift that is not 0.
    package func hasNormGains(_ architecture: Architecture) -> Bool {
        guard architecture.rotatability == .rotatable else { return false }
        func folds(_ norm: Architecture.NormRule, in group: ParameterGroup<Value>) -> Bool {
            func differs(_ name: String?, from neutral: Float) -> Bool {
                name.flatMap(group.index).map { group[$0].tensor.elements.contains { $0 != neutral } } ?? false
            }
            return differs(norm.gain, from: 1) || differs(norm.shift, from: 0)
        }
        return blocks.enumerated().contains { index, block in
            architecture.blocks[firstBlock + index].norms.contains { folds($0, in: block) }
        } || architecture.norms.contains { $0.output == .headInput && folds($0, in: exit) }
    }

    /// Whether every gain of this stage can be folded. Since the head has no bias for the last norm's shift β, the shift stays
    /// in the norm as β/γ, and γ must not be 0 where β is not.
    package func foldsNorms(_ architecture: Architecture) -> Bool { !architecture.norms.contains { exit.losesShift($0) } }
}

extension Parameters {
    /// The same function with every norm's gain and shift folded into the linears that read the norm (b ← b + W·β, W ← W·diag
    /// γ, γ ← 1, β ← 0) and the language model head untied from the embedding: the form in which R1 commutes with the norms
    /// (SpinQuant, section 3.1). The last norm, whose reader has no bias, keeps β/γ as shift.
    ///
    /// Where norms subtract the mean, the mean is also removed from everything that is written to the residual stream, so that
    /// they act as RMSNorms there (SliceGPT, arXiv 2401.15024, section 3.1). A model that cannot be rotated, or a stage whose
    /// norms cannot be folded, is unchanged.
    ///
    /// If nobody else holds the parameters, at most one block exists twice at a time.
    package consuming func fusingNorms(_ architecture: Architecture) -> Self where Value: TensorValue {
        guard architecture.rotatability == .rotatable, foldsNorms(architecture) else { return self }
        for index in blocks.indices {
            for norm in architecture.blocks[firstBlock + index].norms { blocks[index].fuse(norm) }
        }
        if isLast {
            for norm in architecture.norms where norm.output == .headInput {
                var head = logitWeight
                if let gain = norm.gain { head = head.scaledColumns(by: exit.required(gain).tensor) }
                untie(architecture.head, head: head)
                exit.keepShift(norm)
            }
        }
        if architecture.takesMeans { takeMeans() }
        return self
    }

    /// Removes the mean from every value that is written to the residual stream.
    private mutating func takeMeans() where Value: TensorValue {
        for index in entry.specs.indices where entry.specs[index].role.isTable {
            entry[index] = entry[index].mappedRows { $0.takeRowMeans() }
        }
        for block in blocks.indices {
            for index in blocks[block].specs.indices where blocks[block].specs[index].ports?.writes?.writesResidual == true {
                blocks[block][index] = blocks[block][index].mapped { $0.takeColumnMeans() }
                guard let bias = blocks[block].biasIndex(of: index) else { continue }
                blocks[block][bias] = blocks[block][bias].mapped { $0.takeRowMeans() }
            }
        }
    }
}

extension ParameterGroup where Value: TensorValue {
    /// b ← b + W·β and W ← W·diag γ of every linear layer that reads the norm, γ ← 1, β ← 0.
    fileprivate mutating func fuse(_ norm: Architecture.NormRule) {
        let (gain, shift) = (norm.gain.map { required($0).tensor }, norm.shift.map { required($0).tensor })
        for linear in specs.indices where specs[linear].ports?.reads == norm.output {
            if let shift, shift.maxMagnitude != 0 {
                guard let bias = biasIndex(of: linear) else {
                    preconditionFailure("\(specs[linear].name) has no bias for a shift")
                }
                let added = matmul(shift.reshaped([1, shift.count]), .asStored, self[linear].tensor, .transposed)
                self[bias] = self[bias].mapped { $0.add(added.reshaped($0.shape)) }
            }
            if let gain { self[linear] = self[linear].scaledColumns(by: gain) }
        }
        fill(norm.gain, 1)
        fill(norm.shift, 0)
    }

    /// β ← β/γ, γ ← 1.
    fileprivate mutating func keepShift(_ norm: Architecture.NormRule) {
        if let gain = norm.gain.map({ required($0).tensor }), let shift = norm.shift.flatMap(index) {
            self[shift] = self[shift].mapped { shift in
                let (target, source) = (shift.mutablePointer, gain.pointer)
                for j in 0..<shift.count where target[j] != 0 { target[j] /= source[j] }
            }
        }
        fill(norm.gain, 1)
    }

    /// Whether the norm has a non-zero shift where its gain is 0.
    fileprivate func losesShift(_ norm: Architecture.NormRule) -> Bool {
        guard let gain = norm.gain.flatMap({ self[$0] })?.tensor, let shift = norm.shift.flatMap({ self[$0] })?.tensor else {
            return false
        }
        return (0..<gain.count).contains { gain[flat: $0] == 0 && shift[flat: $0] != 0 }
    }

    private mutating func fill(_ name: String?, _ value: Float) {
        guard let name, let index = index(name) else { return }
        self[index] = self[index].mapped { $0.fill(value) }
    }
}

extension ParameterSpec.Role {
    /// Whether its rows enter the residual stream.
    var isTable: Bool { self == .embedding || self == .positions }
}

extension Tensor {
    /// Subtracts its mean from each row (from the whole, for a vector).
    fileprivate mutating func takeRowMeans() {
        let columns = shape.last ?? 1
        let target = mutablePointer
        for row in stride(from: 0, to: count, by: columns) {
            var sum = 0.0
            for j in row..<row + columns { sum += Double(target[j]) }
            let mean = Float(sum / Double(columns))
            for j in row..<row + columns { target[j] -= mean }
        }
    }

    /// Subtracts its mean from each column.
    fileprivate mutating func takeColumnMeans() {
        let (rows, columns) = (self.rows, self.columns)
        let target = mutablePointer
        var sums = [Double](repeating: 0, count: columns)
        for row in 0..<rows { for j in 0..<columns { sums[j] += Double(target[row * columns + j]) } }
        let means = sums.map { Float($0 / Double(rows)) }
        for row in 0..<rows { for j in 0..<columns { target[row * columns + j] -= means[j] } }
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
