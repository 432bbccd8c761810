package import Autograd
internal import CKernels
package import TensorCore

/// How the backward pass treats the rounding and the range.
package enum QuantizerGradient: String, Sendable, CaseIterable {
    /// The gradient also flows through max and min. docs/algorithms.md, section 1, "Range gradient".
    case range
    /// dx = dx̂: the scale is treated as a constant (arXiv 2405.16406).
    case straightThrough = "straight-through"
}

/// Receives both sides of a quantizer in the backward pass. The gradient of a rotation is gathered this way.
package protocol QuantizerObserver: AnyObject {
    /// - Parameters:
    ///   - input: x; `output`: x̂.
    ///   - outputGradient: ∂loss/∂x̂; `inputGradient`: ∂loss/∂x.
    func observe(input: Tensor, output: Tensor, outputGradient: Tensor, inputGradient: Tensor)
}

/// x̂: the representable values that are nearest to `x`.
package func fakeQuantized(_ x: Tensor, _ spec: QuantizerSpec) -> Tensor {
    guard spec.isActive, x.count > 0 else { return x }
    if spec.granularity == .column {
        var byRows = spec
        byRows.granularity = .channel
        return fakeQuantized(x.transposed(), byRows).transposed()
    }
    let size = spec.groupSize(in: x)
    var result = Tensor(uninitialized: x.shape)
    let (source, target, kernel) = (x.pointer, result.mutablePointer, spec.kernel())
    Team.share(x.count / size, cost: size) {
        let first = $0.lowerBound * size
        ck_fake_quantize(source + first, target + first, $0.count, size, kernel, nil, nil, nil)
    }
    return result
}

/// ∂loss/∂x with the range gradient: besides dx = dx̂, each group's ds = Σ dx̂·(x̂ − x)/s reaches the entries that attain
/// its extrema, by +c·ds/(2^b−1) and −c·ds/(2^b−1) (symmetric: the entry of largest magnitude, by its sign·c·ds/(2^(b−1)−1),
/// in the full range sign·c·ds/(2^(b−1)−½)).
/// Where the range was widened to 0, that end belongs to no entry and gives no gradient.
func rangeGradient(_ x: Tensor, _ outputGradient: Tensor, _ spec: QuantizerSpec) -> Tensor {
    let size = spec.groupSize(in: x)
    var result = Tensor(uninitialized: x.shape)
    let (source, slope, target, kernel) = (x.pointer, outputGradient.pointer, result.mutablePointer, spec.kernel())
    Team.share(x.count / size, cost: 2 * size) {
        let first = $0.lowerBound * size
        ck_fake_quantize_range_backward(source + first, slope + first, target + first, $0.count, size, kernel)
    }
    return result
}

extension Tape {
    /// x̂ of `x`, with the derivative that `gradient` names.
    ///
    /// Straight-through without an observer keeps nothing for the backward pass. Otherwise only x is kept, and x̂ is computed
    /// again for the observer, which saves its memory for little traffic.
    ///
    /// - Parameter observer: called in the backward pass, or when the tape's queue of weight gradients comes to it, if `x`
    ///   requires a gradient and the quantizer is active.
    /// - Precondition: any granularity but ``QuantizerGranularity/column``.
    package func fakeQuantize(
        _ x: Variable, _ spec: QuantizerSpec, gradient: QuantizerGradient = .straightThrough,
        observer: (any QuantizerObserver)? = nil
    ) -> Variable {
        precondition(spec.granularity != .column, "activations are not quantized by columns")
        guard spec.isActive else { return x }
        let value = x.value
        let usesRange = gradient == .range
        let output = fakeQuantized(value, spec)
        let dx = x.sink
        guard usesRange || observer != nil else {
            return record(output, from: [x]) { dx.add($0) }
        }
        return record(output, from: [x]) { [weightGradients] outputGradient in
            let inputGradient = usesRange ? rangeGradient(value, outputGradient, spec) : outputGradient
            if let observer {
                weightGradients.run {
                    observer.observe(
                        input: value, output: fakeQuantized(value, spec), outputGradient: outputGradient,
                        inputGradient: inputGradient)
                }
            }
            dx.add(inputGradient)
        }
    }
}
