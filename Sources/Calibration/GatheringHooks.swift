internal import Autograd
internal import Models
internal import Quantization
internal import TensorCore

/// The hooks of a network, with what linear layers of one block read from them gathered.
struct GatheringHooks<Base: HookTransform>: HookTransform {
    let base: Base
    let block: Int
    let statistics: [HookPoint: InputStatistics]
    /// Tokens of a window.
    let length: Int

    func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
        let result = base.transform(x, at: point, block: block, on: tape)
        if block == self.block, let statistics = statistics[point] { statistics.add(windowsOf: length, result.value) }
        return result
    }
}

extension InputStatistics {
    /// Adds window by window what a point has for windows of `length` tokens each, so that sums do not depend on which windows
    /// take a pass together.
    ///
    /// - Parameter exact: the same of the full-precision network, where deviations are gathered.
    func add(windowsOf length: Int, _ values: Tensor, exact: Tensor? = nil) {
        if values.rows == length { return add(values, exact: exact) }
        for first in stride(from: 0, to: values.rows, by: length) {
            add(values.rows(first..<first + length), exact: exact?.rows(first..<first + length))
        }
    }
}
