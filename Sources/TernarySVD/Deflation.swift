internal import CKernels
internal import TensorCore

/// A residual from which pairs are taken one after another, each with its best scale.
struct Deflation {
    private(set) var matrix: Tensor
    private var transposed: Tensor
    /// Squared error removed so far.
    private(set) var removed = 0.0

    struct Pair {
        let u: [Float], v: [Float]
        let nonzeros: Int
    }

    init(_ residual: Tensor) {
        matrix = residual
        transposed = residual.transposed()
    }

    /// Starts at a left singular vector and alternates v ← tern(Rᵀu), u ← tern(Rv); deflates by the best scale
    /// g = uᵀRv/(|u|₀·|v|₀). All products with R are additions of its rows.
    mutating func takePair(near start: Tensor, alternations: Int, _ projection: inout TernaryProjection) -> Pair {
        let (m, n) = (matrix.rows, matrix.columns)
        var (u, v) = ([Float](repeating: 0, count: m), [Float](repeating: 0, count: n))
        var (imageU, imageV) = ([Float](repeating: 0, count: n), [Float](repeating: 0, count: m))
        var (countU, countV) = (projection.project(start.pointer, count: m, to: &u), 0)
        for _ in 0..<alternations {
            ck_ternary_gather(matrix.pointer, u, m, n, &imageU)
            countV = projection.project(imageU, count: n, to: &v)
            ck_ternary_gather(transposed.pointer, v, n, m, &imageV)
            countU = projection.project(imageV, count: m, to: &u)
        }
        deflate(u, v, image: imageV, countU, countV)
        return Pair(u: u, v: v, nonzeros: countU + countV)
    }

    /// The projections of a left singular vector and of its partner Rᵀu, without changing R: the published choice.
    func projectedPair(_ start: Tensor, _ projection: inout TernaryProjection) -> Pair {
        let (m, n) = (matrix.rows, matrix.columns)
        var (u, v, image) = ([Float](repeating: 0, count: m), [Float](repeating: 0, count: n), [Float](repeating: 0, count: n))
        for i in 0..<m { ck_axpy(start.pointer[i], matrix.pointer + i * n, &image, n) }
        let nonzeros = projection.project(start.pointer, count: m, to: &u) + projection.project(image, count: n, to: &v)
        return Pair(u: u, v: v, nonzeros: nonzeros)
    }

    private mutating func deflate(_ u: [Float], _ v: [Float], image: [Float], _ countU: Int, _ countV: Int) {
        guard countU > 0, countV > 0 else { return }
        var overlap = 0.0
        for i in u.indices { overlap += Double(u[i]) * Double(image[i]) }
        let g = overlap / (Double(countU) * Double(countV))
        removed += g * overlap
        ck_ternary_deflate(matrix.mutablePointer, u, v, Float(g), u.count, v.count)
        ck_ternary_deflate(transposed.mutablePointer, v, u, Float(g), v.count, u.count)
    }
}
