internal import ArgumentParser
internal import Rotation
internal import Support
internal import TensorCore

/// The Hadamard transform against copies.
///
/// The transform works in place on `kilobytes` of rows in the second-level cache; one copy goes from one half of as many to the
/// other, in the same cache, the other one through memory, as STREAM's does (McCalpin 1995). A value counts as four bytes read
/// and four written, however often a transform passes over it.
struct TransformBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transform",
        abstract: "Measures the Hadamard transform against copies in the second-level cache and in memory.")

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
        let memoryCopy = copyBandwidth(bytes: 256 << 20)
        var table = Table(columns: ["n", "factor · power", "ns a row", "GB/s", "of copy", "of memory copy"])
        func add(_ name: String, _ details: String, _ nanoseconds: String, _ bandwidth: Double) {
            table.add([
                name, details, nanoseconds, (bandwidth / 1e9).formatted(decimals: 1), (bandwidth / copy).formatted(decimals: 2),
                (bandwidth / memoryCopy).formatted(decimals: 2),
            ])
        }
        add("copy", "in the cache", "", copy)
        add("copy", "through memory", "", memoryCopy)
        for n in sizes {
            let transform = HadamardTransform(columns: n)
            let rows = bytes / (4 * n)
            var random = RandomStream(seed: 1)
            var x = Tensor(normal: [rows, n], from: &random)
            let seconds = medianSeconds { transform.apply(&x) }
            let bandwidth = 8 * Double(x.count) / seconds
            let block = transform.isBlockDiagonal ? " × \(n / transform.block.order) blocks" : ""
            add(
                "\(n)", "\(transform.block.factor) · \(transform.block.power)\(block)",
                (seconds / Double(rows) * 1e9).formatted(decimals: 0), bandwidth)
        }
        print(table.text)
    }
}
