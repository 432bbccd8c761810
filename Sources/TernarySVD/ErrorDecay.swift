internal import Glibc

/// A model of how the error falls with the number of components: by the same factor for each, estimated from the last round in
/// which it fell.
struct ErrorDecay {
    let tolerance: Float
    private var last: (error: Float, components: Int)?
    private var rate: Float?
    /// Components that are still missing for the tolerance; nil before the error has fallen.
    private(set) var missing: Int?

    init(tolerance: Float) { self.tolerance = tolerance }

    mutating func note(_ error: Float, components: Int) {
        if let last, error < last.error, components > last.components {
            rate = log(last.error / error) / Float(components - last.components)
        }
        // A decrease of the size of a rounding error predicts nothing, and its logarithm may not exist.
        missing = rate.flatMap { $0 > 1e-9 ? Int((log(error / tolerance) / $0).rounded(.up)) : nil }
        last = (error, components)
    }
}
