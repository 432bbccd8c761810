internal import Autograd
internal import Models
internal import Quantization
internal import TensorCore

/// The hooks of a network, with what linear layers of one block read from them gathered.
struct GatheringHooks<Base: HookTransform>: HookTransform {
    let base: Base
    let block: Int
    let statistics: [HookPoint: InputStatistics]
    /// What the full-precision network has there, where deviations from it are gathered.
    var exact: Tensor?

    func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
        let result = base.transform(x, at: point, block: block, on: tape)
        if block == self.block, let statistics = statistics[point] { statistics.add(result.value, exact: exact) }
        return result
    }
}

/// The hooks of a network, with what passes one point of one block held.
final class HoldingHooks<Base: HookTransform>: HookTransform {
    private let base: Base
    private let block: Int
    private let point: HookPoint
    private(set) var value: Tensor?

    init(base: Base, block: Int, point: HookPoint) { (self.base, self.block, self.point) = (base, block, point) }

    func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
        let result = base.transform(x, at: point, block: block, on: tape)
        if block == self.block, point == self.point { value = result.value }
        return result
    }
}
