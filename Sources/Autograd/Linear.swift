internal import CKernels
internal import LinearAlgebra
package import TensorCore

/// The weight [out, in] and optional bias [out] of a linear layer: tensors at rest, variables on a tape.
package struct LinearLayer<Value> {
    package var weight: Value
    package var bias: Value?

    package init(weight: Value, bias: Value? = nil) {
        self.weight = weight
        self.bias = bias
    }
}

extension LinearLayer: Sendable where Value: Sendable {}

extension Tape {
    /// y = x·Wᵀ + b. x: [rows, in], W: [out, in], y: [rows, out].
    package func linear(_ x: Variable, _ layer: LinearLayer<Variable>) -> Variable { linears(x, [layer])[0] }

    /// Several linear layers that read the same input.
    ///
    /// Their contributions to ∂loss/∂x are added up by the products themselves; a frozen weight costs no product and keeps no
    /// input. A weight in another form than floats (`LinearOperator`) computes the product itself, and its floats are computed
    /// only for ∂loss/∂x.
    package func linears(_ x: Variable, _ layers: [LinearLayer<Variable>]) -> [Variable] {
        if hasEnded { return layers.map { Variable(constant: Tensor(zeros: [x.shape[0], $0.weight.shape[0]])) } }
        var outputs = linearProducts(x.value, layers.map(\.weight.stored), in: precision)
        for (index, layer) in layers.enumerated() {
            guard let bias = layer.bias else { continue }
            let (columns, y) = (outputs[index].columns, outputs[index].mutablePointer)
            withExtendedLifetime(bias.value) { bias in
                let b = bias.pointer
                Team.share(outputs[index].rows, cost: columns) {
                    ck_add_bias(y + $0.lowerBound * columns, b, $0.count, columns)
                }
            }
        }
        let dx = x.sink
        let input = layers.contains { $0.weight.requiresGradient } ? x.value : nil
        return record(outputs, from: [x] + layers.flatMap { [$0.weight, $0.bias].compactMap(\.self) }) {
            [precision, weightGradients] gradients in
            for (layer, gradient) in zip(layers, gradients) {
                guard let dy = gradient else { continue }
                dx.update { dx, beta in
                    matmul(dy, .asStored, layer.weight.value, .asStored, beta: beta, in: precision, into: &dx)
                }
                if let input {
                    layer.weight.sink.update(in: weightGradients) { dW, beta in
                        matmul(dy, .transposed, input, .asStored, beta: beta, in: precision, into: &dW)
                    }
                }
                layer.bias?.sink.update { db, beta in
                    if beta == 0 { db.fill(0) }
                    let (columns, slopes) = (dy.columns, dy.pointer)
                    Team.sum(dy.rows, of: columns, cost: columns, into: db.mutablePointer) {
                        ck_column_sums(slopes + $0.lowerBound * columns, $1, $0.count, columns)
                    }
                }
            }
        }
    }

    /// y = x·R, or x·Rᵀ when `transposed`, with a constant R: [n, n].
    package func product(_ x: Variable, constant r: Tensor, transposed: Bool = false) -> Variable {
        var y = Tensor(uninitialized: [x.value.rows, transposed ? r.rows : r.columns])
        matmul(x.value, .asStored, r, transposed ? .transposed : .asStored, in: precision, into: &y)
        let dx = x.sink
        return record(y, from: [x]) { [precision] dy in
            dx.update { dx, beta in
                matmul(dy, .asStored, r, transposed ? .asStored : .transposed, beta: beta, in: precision, into: &dx)
            }
        }
    }
}

/// x·Wᵀ of each weight.
private func linearProducts(_ x: Tensor, _ weights: [StoredTensor], in precision: ProductPrecision) -> [Tensor] {
    let forms = weights.compactMap { ownForm($0, in: precision) }
    guard forms.count == weights.count, forms.count > 1 else { return weights.map { linearProduct(x, $0, in: precision) } }
    return forms[0].products(x, and: Array(forms.dropFirst()))
}

/// x·Wᵀ.
private func linearProduct(_ x: Tensor, _ weight: StoredTensor, in precision: ProductPrecision) -> Tensor {
    if let form = ownForm(weight, in: precision) { return form.product(x) }
    var y = Tensor(uninitialized: [x.rows, weight.shape[0]])
    matmul(x, .asStored, weight.tensor, .transposed, in: precision, into: &y)
    return y
}

/// The form that computes the product; nil where it is a product of floats, as also for a matrix that is read from a file at
/// each use.
private func ownForm(_ weight: StoredTensor, in precision: ProductPrecision) -> (any LinearOperator)? {
    weight.linearOperator.flatMap { $0.isResident || precision == .float32 ? $0 : nil }
}
