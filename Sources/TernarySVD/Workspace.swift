internal import TensorCore

/// Reusable buffers that grow with the components. A tensor of a new size in every round would take new pages from the system,
/// and clearing these costs more than the arithmetic.
final class Workspace {
    enum Purpose: Int, CaseIterable {
        /// Factors as columns.
        case coefficients
        /// Products with the other factor, by component.
        case images
        /// The same, by row of the factor.
        case gradients
    }

    private var buffers = Purpose.allCases.map { _ in Tensor(zeros: [0]) }

    /// Space for `count` floats, uninitialized, valid until the next call with the same purpose.
    func take(_ purpose: Purpose, _ count: Int) -> UnsafeMutablePointer<Float> {
        if buffers[purpose.rawValue].count < count {
            buffers[purpose.rawValue] = Tensor(uninitialized: [count + count / 2])
        }
        return buffers[purpose.rawValue].mutablePointer
    }
}
