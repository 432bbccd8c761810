package import TensorCore

/// How a convolution's weight `[G·O, I, K1, K2]` becomes one matrix per group, O·a × I·b: which of the kernel's axes are in U's
/// rows (a) and which in V's columns (b).
///
/// The layer then runs as two convolutions, V's with kernel b and U's with kernel a. On each axis, stride and dilation belong
/// to the convolution that has the kernel.
package enum ConvolutionForm: Int, Sendable, CaseIterable {
    /// a = 1, b = K1·K2.
    case kernelInV
    /// a = K1·K2, b = 1.
    case kernelInU
    /// a = K1, b = K2.
    case heightInU
    /// a = K2, b = K1.
    case widthInU

    /// Whether U's convolution has the height (K1) and the width (K2) of the kernel; V's has the others.
    var axesInU: (height: Bool, width: Bool) {
        switch self {
        case .kernelInV: (false, false)
        case .kernelInU: (true, true)
        case .heightInU: (true, false)
        case .widthInU: (false, true)
        }
    }

    /// U's kernel.
    package func kernelU(_ k1: Int, _ k2: Int) -> (Int, Int) { (axesInU.height ? k1 : 1, axesInU.width ? k2 : 1) }
    /// V's kernel.
    package func kernelV(_ k1: Int, _ k2: Int) -> (Int, Int) { (axesInU.height ? 1 : k1, axesInU.width ? 1 : k2) }

    /// The matrices `[G, O·a, I·b]` of a weight `[G·O, I, K1, K2]`. For a transposed convolution O counts the inputs of a
    /// group.
    package func matrices(_ weight: Tensor, groups: Int) -> Tensor {
        let map = FormMap(weight.shape, groups, self)
        var result = Tensor(uninitialized: [groups, map.rows, map.columns])
        let (source, target) = (weight.pointer, result.mutablePointer)
        map.forEach { weightIndex, matrixIndex in target[matrixIndex] = source[weightIndex] }
        return result
    }

    /// The weight of shape `shape` that has these matrices.
    package func weight(_ matrices: Tensor, shape: [Int]) -> Tensor {
        let map = FormMap(shape, matrices.shape[0], self)
        precondition(matrices.shape == [map.groups, map.rows, map.columns], "matrices \(matrices.shape) for a weight \(shape)")
        var result = Tensor(uninitialized: shape)
        let (source, target) = (matrices.pointer, result.mutablePointer)
        map.forEach { weightIndex, matrixIndex in target[weightIndex] = source[matrixIndex] }
        return result
    }
}

/// The place of each element of a weight in its form's matrices.
private struct FormMap {
    let groups: Int, outputs: Int, inputs: Int
    let kernel: (Int, Int), kernelU: (Int, Int), kernelV: (Int, Int)

    init(_ shape: [Int], _ groups: Int, _ form: ConvolutionForm) {
        precondition(shape.count == 4 && groups > 0 && shape[0] % groups == 0, "\(groups) groups of a weight \(shape)")
        (self.groups, outputs, inputs, kernel) = (groups, shape[0] / groups, shape[1], (shape[2], shape[3]))
        (kernelU, kernelV) = (form.kernelU(shape[2], shape[3]), form.kernelV(shape[2], shape[3]))
    }

    var rows: Int { outputs * kernelU.0 * kernelU.1 }
    var columns: Int { inputs * kernelV.0 * kernelV.1 }

    func forEach(_ body: (Int, Int) -> Void) {
        var weightIndex = 0
        for output in 0..<groups * outputs {
            for input in 0..<inputs {
                for i in 0..<kernel.0 {
                    for j in 0..<kernel.1 {
                        let row = (output * kernelU.0 + min(i, kernelU.0 - 1)) * kernelU.1 + min(j, kernelU.1 - 1)
                        let column = (input * kernelV.0 + min(i, kernelV.0 - 1)) * kernelV.1 + min(j, kernelV.1 - 1)
                        body(weightIndex, row * columns + column)
                        weightIndex += 1
                    }
                }
            }
        }
    }
}

/// A convolution's weight decomposed in one form, with one decomposition per group and equally many components in each.
package struct ConvolutionDecomposition: Sendable {
    package let form: ConvolutionForm
    package let groups: [TernaryDecomposition]
    /// Components of a group divided by the number at which the layer breaks even. Below 1 the ternary layer is cheaper.
    package let cost: Double

    /// Decomposes `weight` in every form allowed and keeps the cheapest; the lower form where costs are equal.
    ///
    /// - Throws: as `TernaryDecomposition`.
    package static func cheapest(
        _ weight: Tensor, groups: Int, _ options: TernaryOptions, name: String = "the convolution",
        forms: [ConvolutionForm] = ConvolutionForm.allCases
    ) throws -> ConvolutionDecomposition {
        let candidates = try forms.map { form in try ConvolutionDecomposition(weight, groups: groups, form, options, name: name)
        }
        guard let best = candidates.min(by: { ($0.cost, $0.form.rawValue) < ($1.cost, $1.form.rawValue) }) else {
            throw TernaryError(.configuration, "\(name): no form of the convolution is allowed; name at least one")
        }
        return best
    }

    package init(_ weight: Tensor, groups: Int, _ form: ConvolutionForm, _ options: TernaryOptions, name: String) throws {
        self.form = form
        let matrices = form.matrices(weight, groups: groups)
        self.groups = try TernaryDecomposition.batch(matrices, options, name: name)
        let sparsity = self.groups.map(\.sparsity).reduce(0, +) / Float(groups)
        let breakEven = BreakEven.components(
            weight: weight, sparsity: sparsity, rows: matrices.shape[1], columns: matrices.shape[2])
        cost = breakEven > 0 ? Double(self.groups[0].componentCount) / breakEven : .infinity
    }
}
