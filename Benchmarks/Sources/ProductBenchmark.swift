internal import ArgumentParser
internal import CKernels
internal import COpenBLAS
internal import LinearAlgebra
internal import Support
internal import TensorCore

/// Products of floats as a training step makes them, against OpenBLAS.
struct ProductBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "product",
        abstract: "Measures products of floats against OpenBLAS, and of bfloat16 numbers, on one thread.",
        discussion: """
            Forward (x·Wᵀ) and backward (dy·W) products of the linear layers of a model, and its weights' gradients (dyᵀ·x). \
            The two take turns. OPENBLAS_CORETYPE chooses OpenBLAS's kernels, CK_ISA ours.
            """)

    @Option(help: "Tokens of a product.")
    var tokens = 512

    @Option(parsing: .upToNextOption, help: "Width and inner width of the feed-forward layers, in turn.")
    var widths = [256, 768, 576, 1536, 1024, 3072]

    func validate() throws {
        guard tokens >= 1, !widths.isEmpty, widths.count % 2 == 0, widths.allSatisfy({ $0 >= 1 }) else {
            throw ValidationError("--tokens must be at least 1 and --widths pairs of numbers of at least 1")
        }
    }

    func run() {
        OpenBLAS.useOneThread()
        print("kernels \(String(cString: ck_isa_name(ck_chosen_isa()))), OpenBLAS \(OpenBLAS.core), \(tokens) tokens")
        var table = Table(columns: ["product", "m", "n", "k", "OpenBLAS Gflop/s", "ours", "bfloat16", "ratio"])
        for index in stride(from: 0, to: widths.count, by: 2) {
            let (h, f) = (widths[index], widths[index + 1])
            for (input, output) in [(h, h), (h, f), (f, h)] {
                measure("x·Wᵀ", .asStored, .transposed, m: tokens, n: output, k: input, into: &table)
                measure("dy·W", .asStored, .asStored, m: tokens, n: input, k: output, into: &table)
                measure("dyᵀ·x", .transposed, .asStored, m: output, n: input, k: tokens, into: &table)
            }
        }
        print(table.text)
    }

    private func measure(
        _ name: String, _ opA: Orientation, _ opB: Orientation, m: Int, n: Int, k: Int, into table: inout Table
    ) {
        var random = RandomStream(seed: 1)
        let (a, b) = (Tensor(normal: [m, k], from: &random), Tensor(normal: [k, n], from: &random))
        var c = Tensor(uninitialized: [m, n])
        let (lda, ldb) = (opA == .asStored ? k : m, opB == .asStored ? n : k)
        func order(_ orientation: Orientation) -> CBLAS_TRANSPOSE { orientation == .asStored ? CblasNoTrans : CblasTrans }
        let seconds = medianSeconds(inTurn: [
            {
                cblas_sgemm(
                    CblasRowMajor, order(opA), order(opB), Int32(m), Int32(n), Int32(k), 1, a.pointer, Int32(lda), b.pointer,
                    Int32(ldb), 0, c.mutablePointer, Int32(n))
            },
            { gemm(opA, opB, m: m, n: n, k: k, a.pointer, lda: lda, b.pointer, ldb: ldb, c.mutablePointer, ldc: n) },
            {
                gemm(
                    opA, opB, m: m, n: n, k: k, a.pointer, lda: lda, b.pointer, ldb: ldb, c.mutablePointer, ldc: n,
                    in: .bfloat16)
            },
        ])
        let operations = 2e-9 * Double(m * n * k)
        table.add(
            [name, "\(m)", "\(n)", "\(k)"] + seconds.map { (operations / $0).formatted(decimals: 1) }
                + [(seconds[0] / seconds[1]).formatted(decimals: 2)])
    }
}
