package import Rotation

/// Random rotations to choose a start from, each made when it is asked for: many together would take more memory than the
/// model.
package struct RandomStarts: RandomAccessCollection {
    package let endIndex: Int
    /// Order of R1; nil where there is none.
    let hidden: Int?
    /// Order of each layer's R2; nil where there is none.
    let head: Int?
    let layers: Int
    let seed: UInt64
    /// Whether the mean over a row stays a channel of its own: see ``Rotations/keepingMean()``.
    let keepsMean: Bool

    package var startIndex: Int { 0 }

    package subscript(place: Int) -> Rotations {
        let random = Rotations.randomHadamard(hidden: hidden, head: head, layers: layers, seed: seed ^ UInt64(place) << 48)
        return keepsMean ? random.keepingMean() : random
    }
}
