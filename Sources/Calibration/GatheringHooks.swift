internal import Autograd
internal import Models
internal import Quantization

/// The hooks of a network, with what linear layers of one block read from them gathered.
struct GatheringHooks<Base: HookTransform>: HookTransform {
    let base: Base
    let block: Int
    let statistics: [HookPoint: InputStatistics]

    func transform(_ x: Variable, at point: HookPoint, block: Int?, on tape: Tape) -> Variable {
        let result = base.transform(x, at: point, block: block, on: tape)
        if block == self.block, let statistics = statistics[point] { statistics.add(result.value) }
        return result
    }
}
