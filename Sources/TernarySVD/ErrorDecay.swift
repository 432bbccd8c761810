internal import Glibc

/// How the error falls with the components: by a factor for each, as in the last round in which it fell.
struct ErrorDecay {
    let tolerance: Float
    private var last: (error: Float, components: Int)?
    private var rate: Float?
    /// Components that the tolerance still asks for; nil before the error has fallen.
    private(set) var missing: Int?

    init(tolerance: Float) { self.tolerance = tolerance }

    mutating func note(_ error: Float, components: Int) {
        if let last, error < last.error, components > last.components {
            rate = log(last.error / error) / Float(components - last.components)
        }
        // A fall of one rounding error promises nothing, and may have no logarithm.
        missing = rate.flatMap { $0 > 1e-9 ? Int((log(error / tolerance) / $0).rounded(.up)) : nil }
        last = (error, components)
    }
}
