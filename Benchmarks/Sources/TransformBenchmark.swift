internal import ArgumentParser
internal import Rotation
internal import TensorCore
internal import Training

/// The Hadamard transform against a copy of the same bytes.
///
/// Both work in the second-level cache: the transform in place on `kilobytes` of rows, the copy from one half of as many to the
/// other. A value counts as four bytes read and four written, however often a transform passes over it.
struct TransformBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transform", abstract: "Measures the Hadamard transform against a copy in the second-level cache.")

    @Option(help: "Kilobytes of rows; they should fit the second-level cache.")
    var kilobytes = 512

    @Option(parsing: .upToNextOption, help: "Lengths of the rows.")
    var sizes = [64, 256, 1024, 4096, 8192, 16384, 768, 2816, 5120, 11008, 14336]

    func validate() throws {
        guard kilobytes >= 1, sizes.allSatisfy({ $0 >= 1 && $0 * 4 <= kilobytes << 10 }) else {
            throw ValidationError("a row of each size must fit \(kilobytes) KB; raise --kilobytes or choose other --sizes")
        }
    }

    func run() {
        let bytes = kilobytes << 10
        let copy = copyBandwidth(bytes: bytes / 2)
        var table = Table(columns: ["n", "factor · power", "ns a row", "GB/s", "of copy"])
        table.add(["copy", "", "", (copy / 1e9).formatted(decimals: 0), "1.00"])
        for n in sizes {
            let transform = HadamardTransform(columns: n)
            let rows = bytes / (4 * n)
            var random = RandomStream(seed: 1)
            var x = Tensor(normal: [rows, n], from: &random)
            let seconds = medianSeconds { transform.apply(&x) }
            let bandwidth = 8 * Double(x.count) / seconds
            let block = transform.isBlockDiagonal ? " × \(n / transform.block.order) blocks" : ""
            table.add([
                "\(n)", "\(transform.block.factor) · \(transform.block.power)\(block)",
                (seconds / Double(rows) * 1e9).formatted(decimals: 0), (bandwidth / 1e9).formatted(decimals: 1),
                (bandwidth / copy).formatted(decimals: 2),
            ])
        }
        print(table.text)
    }
}
