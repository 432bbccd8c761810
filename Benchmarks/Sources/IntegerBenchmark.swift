internal import ArgumentParser
internal import CKernels
internal import COpenBLAS
internal import Glibc
internal import LinearAlgebra
internal import Quantization
internal import Support
internal import TensorCore
internal import TernarySVD

/// Products of integers against the dense float32 product, and against what the processor multiplies from its registers.
struct IntegerBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "integer",
        abstract: "Measures ternary, 4-bit and 8-bit products of integers against OpenBLAS, on one thread.",
        discussion: """
            Ternary factors are random: as many components and non-zeros as the decomposition of a Gaussian matrix has at a \
            tolerance of 10 %. A token is rounded each time. For one token OpenBLAS is the faster of sgemm and sgemv. The \
            peak is \
            that of the instruction that multiplies bytes, on registers alone; the share counts all entries of factors, zeros \
            included. Bytes are those of the weights.
            """)

    @Option(parsing: .upToNextOption, help: "Rows and columns of the matrices.")
    var sizes = [2048, 4096]
    @Option(parsing: .upToNextOption, help: "Tokens of a product.")
    var tokens = [1, 4, 16, 64, 256]
    @Option(help: "Entries of U and V over entries of the matrix.")
    var entries = 3.14
    @Option(help: "Share of non-zeros in U and V.")
    var density = 0.2
    @Option(help: "Measurements of each product, of which the median counts.")
    var samples = 21
    @Flag(help: "Measure the ternary product only.")
    var ternaryOnly = false

    func validate() throws {
        guard sizes.allSatisfy({ (128...1 << 14).contains($0) && $0 % 128 == 0 }),
            tokens.allSatisfy({ (1...4096).contains($0) })
        else { throw ValidationError("--sizes must be multiples of 128 up to \(1 << 14), --tokens from 1 to 4096") }
        guard (0.01...16).contains(entries), (0...1).contains(density), samples >= 1 else {
            throw ValidationError("--entries must be from 0.01 to 16, --density from 0 to 1, --samples at least 1")
        }
    }

    func run() throws {
        Team.threads = 1
        OpenBLAS.useOneThread()
        var load = [0.0, 0, 0]
        getloadavg(&load, 3)
        print(
            "kernels \(String(cString: ck_isa_name(ck_chosen_isa()))), OpenBLAS \(OpenBLAS.core), load "
                + "\(load[0].formatted(decimals: 2))"
        )
        var table = Table(columns: ["n", "product", "tokens", "ms", "float32 ms", "ratio", "Gop/s", "peak", "share", "GB/s"])
        let dnnl = ternaryOnly ? nil : OneDNN()
        for n in sizes {
            var random = RandomStream(seed: 1)
            let weight = Tensor(normal: [n, n], from: &random)
            var products = [ternary(n, &random)]
            if !ternaryOnly { products += try quantized(weight) }
            for count in tokens {
                measure(products + (dnnl.map { [oneDNN($0, n, count)] } ?? []), weight, count, &random, into: &table)
            }
        }
        print(table.text)
    }

    /// A product to measure.
    private struct Candidate {
        var name: String
        var bytes: Int
        /// Products of integers a token.
        var multiplications: Int
        var apply: (Tensor) -> Void
    }

    private func ternary(_ n: Int, _ random: inout RandomStream) -> Candidate {
        let k = Int(entries * Double(n) / 2)
        func factor(_ shape: [Int]) -> PackedTernary {
            PackedTernary(
                Tensor(
                    (0..<n * k).map { _ in
                        let word = random.next()
                        return Double(word >> 11) * 0x1p-53 < density ? (word & 1 == 0 ? 1 : -1) : 0
                    }, shape))
        }
        let product = IntegerTernaryProduct(
            TernaryFactors(u: factor([n, k]), s: [Float](repeating: 1, count: k), v: factor([k, n]), tolerance: 0.1))
        return Candidate(name: "ternary", bytes: product.byteCount, multiplications: 2 * n * k) { _ = product.apply($0) }
    }

    private func quantized(_ weight: Tensor) throws -> [Candidate] {
        let kinds: [(String, Int, QuantizerGranularity)] = [
            ("8 bits, rows", 8, .channel), ("4 bits, rows", 4, .channel), ("4 bits, groups of 128", 4, .group(128)),
            ("4 bits, groups of 32", 4, .group(32)),
        ]
        return try kinds.map { name, bits, granularity in
            let product = try IntegerProduct(
                WeightQuantizer(QuantizerSpec(bits: bits, symmetric: true, granularity: granularity)).quantized(weight))
            return Candidate(name: name, bytes: product.byteCount, multiplications: weight.count) { _ = product.apply($0) }
        }
    }

    private func oneDNN(_ library: OneDNN, _ n: Int, _ count: Int) -> Candidate {
        let (a, b) = ([UInt8](repeating: 3, count: count * n), [Int8](repeating: -5, count: n * n))
        var c = [Int32](repeating: 0, count: count * n)
        return Candidate(name: "oneDNN u8s8s32", bytes: n * n, multiplications: n * n) { _ in
            library.multiply(a, b, m: count, n: n, k: n, into: &c)
        }
    }

    private func measure(
        _ candidates: [Candidate], _ weight: Tensor, _ count: Int, _ random: inout RandomStream, into table: inout Table
    ) {
        let n = weight.rows
        let x = Tensor(normal: [count, n], from: &random)
        var y = Tensor(uninitialized: [count, n])
        var roundProducts = 0
        let peakRounds = 20000
        var bodies: [() -> Void] = [
            { roundProducts = ck_integer_peak(peakRounds) },
            {
                cblas_sgemm(
                    CblasRowMajor, CblasNoTrans, CblasTrans, Int32(count), Int32(n), Int32(n), 1, x.pointer, Int32(n),
                    weight.pointer, Int32(n), 0, y.mutablePointer, Int32(n))
            },
        ]
        if count == 1 {
            bodies.append {
                cblas_sgemv(
                    CblasRowMajor, CblasNoTrans, Int32(n), Int32(n), 1, weight.pointer, Int32(n), x.pointer, 1, 0,
                    y.mutablePointer, 1)
            }
        }
        let given = bodies.count
        for candidate in candidates { bodies.append { candidate.apply(x) } }
        let seconds = medianSeconds(samples: samples, inTurn: bodies)
        let peak = Double(roundProducts * peakRounds) / seconds[0]
        let dense = seconds[1..<given].min() ?? 0
        for (candidate, own) in zip(candidates, seconds[given...]) {
            let rate = Double(candidate.multiplications * count) / own
            table.add([
                "\(n)", candidate.name, "\(count)", (own * 1e3).formatted(decimals: 3), (dense * 1e3).formatted(decimals: 3),
                (dense / own).formatted(decimals: 2), (2e-9 * rate).formatted(decimals: 0),
                (2e-9 * peak).formatted(decimals: 0),
                (rate / peak).formatted(decimals: 2), (Double(candidate.bytes) / own / 1e9).formatted(decimals: 1),
            ])
        }
    }
}
