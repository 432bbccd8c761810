internal import ArgumentParser
internal import Quantization
internal import Support
internal import TensorCore

/// Fake quantization, a read and a write of each value, against a copy.
struct QuantizeBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quantize", abstract: "Measures fake quantization of activations and the clip search of weights.")

    @Option(help: "Rows.")
    var rows = 128

    @Option(help: "Length of the rows; divisible by 128.")
    var columns = 1024

    func validate() throws {
        guard rows >= 1, columns >= 128, columns % 128 == 0 else {
            throw ValidationError("--rows must be at least 1 and --columns a multiple of 128")
        }
    }

    func run() {
        let count = rows * columns
        let copy = copyBandwidth(bytes: 4 * count)
        var random = RandomStream(seed: 1)
        let x = Tensor(normal: [rows, columns], from: &random)
        var table = Table(columns: ["quantizer", "ns a value", "GB/s", "of copy"])
        func add(_ name: String, _ seconds: Double) {
            let bandwidth = 8 * Double(count) / seconds
            table.add([
                name, (seconds / Double(count) * 1e9).formatted(decimals: 3), (bandwidth / 1e9).formatted(decimals: 1),
                (bandwidth / copy).formatted(decimals: 2),
            ])
        }
        let granularities: [(String, QuantizerGranularity)] = [
            ("token", .token), ("head of 64", .head(64)), ("group of 128", .group(128)),
        ]
        for (name, granularity) in granularities {
            for symmetric in [false, true] {
                let spec = QuantizerSpec(bits: 4, symmetric: symmetric, granularity: granularity)
                add("4 bits, \(symmetric ? "symmetric" : "asymmetric"), \(name)", medianSeconds { _ = fakeQuantized(x, spec) })
            }
        }
        let search = WeightQuantizer(QuantizerSpec(bits: 4, symmetric: true, granularity: .channel), searchesClip: true)
        add("4 bits, symmetric, channel, clip search", medianSeconds(samples: 3) { _ = search.fakeQuantized(x) })
        print(table.text)
    }
}
