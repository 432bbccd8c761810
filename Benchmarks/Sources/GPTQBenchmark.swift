internal import ArgumentParser
internal import CKernels
internal import LinearAlgebra
internal import Quantization
internal import Support
internal import TensorCore

/// GPTQ of one random matrix: second moments, factorization, rounding with its updates, and the clip search, against the peak
/// of products in float32.
struct GPTQBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gptq", abstract: "Measures GPTQ of one matrix on one thread against the peak of matrix products.",
        discussion: """
            Operations are those that the procedure needs: rows·in² for the products of inputs, in³/3 for the factorization, \
            out·in² for the updates. Searching for clip ratios is none of them; its time counts where it is asked for.
            """)

    @Option(help: "Rows and columns of the weight.")
    var size = 2048
    @Option(help: "Rows of calibration inputs.")
    var rows = 2048
    @Option(help: "Bits.")
    var bits = 4
    @Option(help: "Columns of a group; none: rows.")
    var group: Int?

    func validate() throws {
        guard size >= 16, rows >= 1, (2...8).contains(bits) else {
            throw ValidationError("--size must be at least 16, --rows 1, --bits 2 to 8")
        }
        guard group.map({ $0 >= 1 && size % $0 == 0 }) ?? true else { throw ValidationError("--group must divide --size") }
    }

    func run() throws {
        Team.threads = 1
        OpenBLAS.useOneThread()
        var random = RandomStream(seed: 5)
        let weight = Tensor(normal: [size, size], deviation: 0.02, from: &random)
        let inputs = Tensor(normal: [rows, size], from: &random)
        let peak = measureProductPeak()
        let n = Double(size)
        let operations = Double(rows) * n * n + n * n * n / 3 + n * n * n
        let spec = QuantizerSpec(bits: bits, symmetric: true, granularity: group.map { .group($0) } ?? .channel)
        var table = Table(columns: ["step", "seconds", "of the peak"])
        func add(_ name: String, _ operations: Double?, _ body: () -> Void) {
            let seconds = medianSeconds(samples: 3, body)
            table.add([
                name, seconds.formatted(decimals: 4),
                operations.map { ($0 / seconds / peak).formatted(decimals: 2) } ?? "–",
            ])
        }
        func statistics() -> InputStatistics {
            let result = InputStatistics(width: size, depth: .secondMoment)
            for first in stride(from: 0, to: rows, by: 256) { result.add(inputs.rows(first..<min(first + 256, rows))) }
            return result
        }
        func quantize(_ statistics: InputStatistics, searchesClip: Bool) {
            do {
                _ = try GPTQ().quantize(weight, statistics, WeightQuantizer(spec, searchesClip: searchesClip))
            } catch {
                preconditionFailure("\(error)")
            }
        }
        let gathered = statistics()
        add("second moments", Double(rows) * n * n) { _ = statistics() }
        add("factorization, rounding, updates", n * n * n * 4 / 3) { quantize(gathered, searchesClip: false) }
        add("the whole", operations) { quantize(statistics(), searchesClip: false) }
        add("the whole, with clip search", operations) { quantize(statistics(), searchesClip: true) }
        let kernels = String(cString: ck_isa_name(ck_chosen_isa()))
        print(
            "kernels: \(kernels), of factorizations OpenBLAS \(OpenBLAS.core); peak \((peak / 1e9).formatted(decimals: 1)) "
                + "Gflop/s"
        )
        print(table.text)
    }
}
