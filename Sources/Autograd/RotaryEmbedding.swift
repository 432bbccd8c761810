internal import CKernels
internal import Glibc
package import TensorCore

/// Cosines and sines of the angles position·frequency, [positions, d/2] each (Su et al., arXiv 2104.09864).
package struct RotaryTable: Sendable {
    package let cosine: Tensor
    package let sine: Tensor
    package let headDimension: Int

    /// - Parameter frequencies: d/2 angles per position, in radians, the fastest first.
    package init(frequencies: [Double], positions: Int) {
        headDimension = 2 * frequencies.count
        var cosine = Tensor(uninitialized: [positions, frequencies.count])
        var sine = cosine
        for position in 0..<positions {
            for (i, frequency) in frequencies.enumerated() {
                // The angle is rounded to float32 as in the models' own code: at long positions the difference shows.
                let angle = Double(Float(position) * Float(frequency))
                cosine[position, i] = Float(cos(angle))
                sine[position, i] = Float(sin(angle))
            }
        }
        self.cosine = cosine
        self.sine = sine
    }
}

extension Tape {
    /// Turns each pair (i, i + d/2) of every head by its position's angle.
    ///
    /// - Parameters:
    ///   - x: [sequences·length, heads·d].
    ///   - first: the position of the first row.
    ///   - length: tokens in a sequence; row r has position first + r mod length.
    package func rotary(_ x: Variable, _ table: RotaryTable, from first: Int = 0, length: Int) -> Variable {
        let d = table.headDimension
        precondition(
            first + length <= table.cosine.rows && x.value.columns % d == 0,
            "rotary \(x.value.shape), positions from \(first) on, length \(length)")
        func turned(_ value: Tensor, by direction: Float) -> Tensor {
            let columns = value.columns
            var result = Tensor(uninitialized: value.shape)
            let (source, target) = (value.pointer, result.mutablePointer)
            let (cosine, sine) = (table.cosine.pointer, table.sine.pointer)
            Team.share(value.rows, cost: columns) { range in
                var row = range.lowerBound
                while row < range.upperBound {
                    let position = row % length
                    let count = min(range.upperBound - row, length - position)
                    let (start, angles) = (row * columns, (first + position) * (d / 2))
                    (target + start).update(from: source + start, count: count * columns)
                    ck_rope(target + start, cosine + angles, sine + angles, direction, count, count, columns / d, d)
                    row += count
                }
            }
            return result
        }
        let dx = x.sink
        return record(turned(x.value, by: 1), from: [x]) { dy in dx.add(turned(dy, by: -1)) }
    }
}
