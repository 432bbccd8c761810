internal import ArgumentParser
internal import CKernels
internal import LinearAlgebra
internal import Models
internal import Support
internal import TensorCore
internal import TernarySVD

/// The default mode of the decomposition beside the reference mode: what the factors cost, and what finding them costs.
struct DecomposeBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "decompose",
        abstract: "Compares the two modes of the ternary decomposition, without balancing, on one thread.",
        discussion: """
            Ratios are of the default mode over the reference mode: additions per token (non-zeros of U and V), components \
            (multiplications per token), seconds of processor time. The error is the default mode's: the residual's largest \
            singular value over the matrix's, formed anew from the factors. Operations are those of a last round, \
            kmn + k²(m+n)/64 + k³/3.
            """)

    @Option(help: "A kind of random matrix (gaussian, gamma, lowrank); may be repeated.")
    var kind: [DecomposeMatrix.Kind] = []
    @Option(help: "Rows and columns of the random matrices; may be repeated.")
    var size = [256]
    @Option(help: "A Llama folder, whose linear layers are decomposed too.")
    var model: String?
    @Option(help: "A tolerance; may be repeated.")
    var tolerance: [Double] = [0.01, 0.05, 0.1]
    @Option(help: "Cosine a ternary projection must reach.")
    var threshold = TernaryOptions.defaultThreshold
    @Option(help: "Seed of the random matrices.")
    var seed: UInt64 = 4242
    @Flag(help: "Run the default mode only.")
    var skipReference = false

    func validate() throws {
        guard !kind.isEmpty || model != nil else { throw ValidationError("name a --kind, or a --model") }
        guard size.allSatisfy({ (4...1 << 14).contains($0) }) else {
            throw ValidationError("--size must be from 4 to \(1 << 14)")
        }
    }

    func run() throws {
        Team.threads = 1
        OpenBLAS.useOneThread()
        var matrices = kind.flatMap { kind in size.map { DecomposeMatrix(kind, size: $0, seed: seed) } }
        let layers = try model.map { try DecomposeMatrix.linears(of: ModelFolder($0)) } ?? []
        matrices += layers
        var table = Table(columns: [
            "matrix", "tolerance", "components", "of reference", "additions", "of reference", "error", "operations", "seconds",
            "reference", "of reference",
        ])
        for tolerance in tolerance {
            var sum: Comparison?
            for matrix in matrices {
                let comparison = try compare(matrix, tolerance)
                table.add(comparison.row(matrix.name, tolerance))
                if matrix.name == layers.first?.name { sum = comparison } else { sum?.add(comparison) }
            }
            if let sum { table.add(sum.row("all \(layers.count) layers", tolerance)) }
        }
        print("kernels: \(String(cString: ck_isa_name(ck_chosen_isa()))), of factorizations OpenBLAS \(OpenBLAS.core)")
        print(table.text)
    }

    private func compare(_ matrix: DecomposeMatrix, _ tolerance: Double) throws -> Comparison {
        var options = TernaryOptions(tolerance: Float(tolerance))
        options.threshold = Float(threshold)
        // Both modes keep the tolerance of the matrix itself.
        options.balance = false
        let own = try Cost(of: matrix, options)
        options.mode = .reference
        return Comparison(own: own, reference: skipReference ? nil : try Cost(of: matrix, options))
    }
}

/// What one decomposition, or several, came to.
private struct Cost {
    var componentCount: Int
    var nonzeros: Int
    /// The largest residual's relative operator norm.
    var error: Double
    /// Of a last round.
    var operations: Double
    /// Of processor time.
    var seconds: Double

    init(of matrix: DecomposeMatrix, _ options: TernaryOptions) throws {
        let w = matrix.weight
        let start = processorSeconds()
        let decomposition = try TernaryDecomposition(w, options, name: matrix.name)
        seconds = processorSeconds() - start
        componentCount = decomposition.componentCount
        nonzeros = decomposition.nonzeros
        let product = TernaryFactors(decomposition, tolerance: options.tolerance).unpacked()
        error = Double(try (w - product).spectralNorm() / w.spectralNorm())
        let (k, m, n) = (Double(componentCount), Double(w.rows), Double(w.columns))
        operations = k * m * n + k * k * (m + n) / 64 + k * k * k / 3
    }

    mutating func add(_ other: Cost) {
        componentCount += other.componentCount
        nonzeros += other.nonzeros
        error = max(error, other.error)
        operations += other.operations
        seconds += other.seconds
    }
}

private struct Comparison {
    var own: Cost
    var reference: Cost?

    mutating func add(_ other: Comparison) {
        own.add(other.own)
        if let cost = other.reference { reference?.add(cost) }
    }

    func row(_ name: String, _ tolerance: Double) -> [String] {
        func ratio(_ own: Double, _ part: (Cost) -> Double) -> String {
            reference.map { (own / part($0)).formatted(decimals: 3) } ?? "–"
        }
        return [
            name, tolerance.formatted(decimals: 3), "\(own.componentCount)",
            ratio(Double(own.componentCount)) { Double($0.componentCount) },
            "\(own.nonzeros)", ratio(Double(own.nonzeros)) { Double($0.nonzeros) }, own.error.formatted(decimals: 5),
            (own.operations / 1e9).formatted(decimals: 3) + "e9", own.seconds.formatted(decimals: 2),
            reference?.seconds.formatted(decimals: 2) ?? "–", ratio(own.seconds, \.seconds),
        ]
    }
}
