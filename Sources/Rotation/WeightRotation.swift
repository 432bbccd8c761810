internal import Autograd
internal import LinearAlgebra
package import Models
package import TensorCore

/// The sides of a model's matrices into which R1 is merged. At other places activations are rotated instead (see
/// ``RotationPlan``). R2 is always merged into the weights, where it costs d/h of what R1 costs.
package struct RotatedSides: Sendable, Equatable {
    /// The points of the residual stream whose readers or writers carry R1.
    private let points: Set<HookPoint>

    package init(_ points: some Sequence<HookPoint>) { self.points = Set(points) }

    /// Whether weights are rotated at this hook point.
    package func contains(_ point: HookPoint) -> Bool { points.contains(point) }

    package static let all = RotatedSides(HookPoint.allCases.filter { $0.readsResidual || $0.writesResidual })
    /// Everything is rotated in the activations.
    package static let none = RotatedSides([])
}

extension Parameters {
    /// The parameters, of a model or a stage, with R1 merged on the given sides and R2 in values and output projections.
    ///
    /// Tables of the entry and head: E·R1, H·R1; linears that read the residual stream: W·R1; that write it: R1ᵀ·W and R1ᵀ·b;
    /// values per key-value head: R2ᵀ·W_head and R2ᵀ·b_head; the output projection per query head's columns: W_head·R2. The
    /// function is unchanged when norms have been fused (``fusingNorms(_:)``), all sides are rotated and, where norms subtract
    /// the mean, R1 preserves its direction (``Rotations/keepingMean()``). The shift that the last norm keeps becomes β·R1.
    package func rotated(by rotations: Rotations, sides: RotatedSides = .all, _ architecture: Architecture) -> Self
    where Value: TensorValue {
        var result = self
        let r1 = rotations.r1
        if sides.contains(.embedding) {
            for index in entry.specs.indices where entry.specs[index].role.isTable {
                result.entry[index] = entry[index].rotatedInput(by: r1)
            }
        }
        if isLast, let r1, sides.contains(.headInput) {
            result.untie(architecture.head, head: logitWeight.rotatedInput(by: r1))
        }
        for norm in architecture.norms where norm.output == .headInput {
            // The last norm's shift is rotated, whether R1 is in the weights or in the activations.
            guard let shift = norm.shift.flatMap(result.exit.index) else { continue }
            result.exit[shift] = result.exit[shift].rotatedVector(by: r1)
        }
        for index in blocks.indices {
            result.blocks[index].rotate(r1, rotations.r2?[architecture.blocks[firstBlock + index].layer], sides)
        }
        return result
    }

    /// The parameters with R4 on the input side of every down projection (W ← W·H): its input must then be transformed online.
    package consuming func rotatedDown(by r4: HadamardTransform) -> Self where Value: TensorValue {
        mappedDown { r4.apply(&$0) }
    }

    /// The parameters with R4 removed (W ← W·Hᵀ): no online transform is needed.
    package consuming func unrotatedDown(by r4: HadamardTransform) -> Self where Value: TensorValue {
        mappedDown { r4.applyInverse(&$0) }
    }

    private consuming func mappedDown(_ change: @escaping @Sendable (inout Tensor) -> Void) -> Self where Value: TensorValue {
        for block in blocks.indices {
            for index in blocks[block].specs.indices where blocks[block].specs[index].ports?.reads == .downInput {
                blocks[block][index] = blocks[block][index].mapped(change)
            }
        }
        return self
    }
}

extension ParameterGroup where Value: TensorValue {
    /// Merges a block's rotations into its linears: R2 first, then R1.
    fileprivate mutating func rotate(_ r1: Tensor?, _ r2: Tensor?, _ sides: RotatedSides) {
        for index in specs.indices {
            guard let ports = specs[index].ports else { continue }
            let bias = biasIndex(of: index)
            var layer = LinearLayer(weight: self[index], bias: bias.map { self[$0] })
            if ports.writes == .value { layer = layer.rotatedHeads(by: r2) }
            if ports.reads == .outputInput { layer.weight = layer.weight.rotatedBlocks(by: r2) }
            if ports.reads.readsResidual, sides.contains(ports.reads) { layer.weight = layer.weight.rotatedInput(by: r1) }
            if let point = ports.writes, point.writesResidual, sides.contains(point) { layer = layer.rotatedOutput(by: r1) }
            self[index] = layer.weight
            if let bias, let value = layer.bias { self[bias] = value }
        }
    }
}

extension LinearLayer where Value: TensorValue {
    /// Rᵀ·W and Rᵀ·b.
    fileprivate func rotatedOutput(by r: Tensor?) -> Self {
        guard let r else { return self }
        return LinearLayer(
            weight: weight.mapped { $0 = matmul(r, .transposed, $0) },
            bias: bias?.rotatedVector(by: r))
    }

    /// Each block of d rows (a head): R2ᵀ·W_head, and its bias likewise.
    fileprivate func rotatedHeads(by r2: Tensor?) -> Self {
        guard let r2 else { return self }
        return LinearLayer(
            weight: weight.mapped { $0 = $0.rotatedRowBlocks(by: r2) },
            bias: bias?.mapped { $0 = matmul($0.reshaped([$0.count / r2.rows, r2.rows]), .asStored, r2).reshaped($0.shape) })
    }
}

extension TensorValue {
    /// v·R.
    fileprivate func rotatedVector(by r: Tensor?) -> Self {
        guard let r else { return self }
        return mapped { $0 = matmul($0.reshaped([1, $0.count]), .asStored, r).reshaped($0.shape) }
    }

    /// W·R.
    fileprivate func rotatedInput(by r: Tensor?) -> Self {
        guard let r else { return self }
        return mappedRows { $0 = matmul($0, .asStored, r) }
    }

    /// Each block of d columns (a head): W_head·R2.
    fileprivate func rotatedBlocks(by r2: Tensor?) -> Self {
        guard let r2 else { return self }
        return mapped { $0 = matmul($0.reshaped([$0.count / r2.rows, r2.rows]), .asStored, r2).reshaped($0.shape) }
    }
}

extension Tensor {
    /// Each block of d rows (a head): R2ᵀ·W_head.
    fileprivate func rotatedRowBlocks(by r2: Tensor) -> Tensor {
        let (d, n) = (r2.rows, columns)
        var rotated = Tensor(uninitialized: shape)
        let target = rotated.mutablePointer
        for first in stride(from: 0, to: rows, by: d) {
            gemm(
                .transposed, .asStored, m: d, n: n, k: d, r2.pointer, lda: d, pointer + first * n, ldb: n,
                target + first * n, ldc: n)
        }
        return rotated
    }
}
