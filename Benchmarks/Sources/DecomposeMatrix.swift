internal import ArgumentParser
internal import Glibc
internal import HuggingFace
internal import LinearAlgebra
internal import Models
internal import Support
internal import TensorCore

/// A matrix to decompose, and what the tables call it.
struct DecomposeMatrix {
    let name: String
    let weight: Tensor

    /// Random matrices.
    enum Kind: String, ExpressibleByArgument, CaseIterable {
        /// Independent normal entries.
        case gaussian
        /// Exponential magnitudes (Gamma with shape 1) of random sign.
        case gamma
        /// Normal entries of rank n/8, and noise of a tenth of their size.
        case lowrank
    }

    init(_ kind: Kind, size n: Int, seed: UInt64) {
        var random = RandomStream(seed: seed)
        name = "\(kind.rawValue) \(n)×\(n)"
        switch kind {
        case .gaussian: weight = Tensor(normal: [n, n], from: &random)
        case .gamma:
            let entries = (0..<n * n).map { _ in
                let magnitude = -log(1 - random.uniform())
                return Float(random.uniform() < 0.5 ? -magnitude : magnitude)
            }
            weight = Tensor(entries, [n, n])
        case .lowrank:
            let rank = max(1, n / 8)
            let left = Tensor(normal: [n, rank], deviation: 1 / Double(rank).squareRoot(), from: &random)
            let right = Tensor(normal: [rank, n], from: &random)
            var sum = Tensor(normal: [n, n], deviation: 0.1, from: &random)
            sum.add(matmul(left, .asStored, right))
            weight = sum
        }
    }

    /// The linear layers of a Llama folder.
    static func linears(of folder: ModelFolder) throws -> [DecomposeMatrix] {
        try folder.architecture.linears.map { linear in
            DecomposeMatrix(
                name: linear.name, weight: try folder.checkpoint.read(linear.name + ".weight", shape: linear.shape))
        }
    }

    private init(name: String, weight: Tensor) { (self.name, self.weight) = (name, weight) }
}
