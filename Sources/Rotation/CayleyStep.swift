internal import LinearAlgebra
package import TensorCore

/// An exact Cayley step that has been begun: from R along W by α to R·(I + ½αW)⁻¹·(I − ½αW) = 2R·(I + ½αW)⁻¹ − R.
///
/// Rows of the result do not depend on each other, so that ranks can divide them; each rank factorizes I + ½αW itself.
package struct CayleyStep: Sendable {
    /// R `[p, n]`.
    package let start: Tensor
    /// W `[n, n]`, skew.
    package let direction: Tensor
    /// α.
    package let size: Float

    /// If requested ranges of rows begin and end at multiples of this, the bits of a row do not depend on the range.
    package static let chunk = LUFactors.chunk

    /// Some rows of the next R, solved in double precision and rounded once.
    package func rows(_ range: Range<Int>) throws(RotationError) -> Tensor {
        let n = start.columns
        let half = 0.5 * Double(size)
        let system = DoubleStorage(direction) { half * Double($0) }
        for i in 0..<n { system.elements[i * n + i] += 1 }
        let own = start.rows(range)
        let quotient = DoubleStorage(own) { Double($0) }
        do throws(LAPACKError) {
            try LUFactors(system, order: n).rightDivide(quotient.elements)
        } catch {
            throw .linearAlgebra(error)
        }
        var next = Tensor(uninitialized: own.shape)
        let (before, target) = (own.pointer, next.mutablePointer)
        let solution = quotient.pointer
        Team.shareElements(own.count) {
            for index in $0 { target[index] = Float(2 * solution[index] - Double(before[index])) }
        }
        return next
    }
}
