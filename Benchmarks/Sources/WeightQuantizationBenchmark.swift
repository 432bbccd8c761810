internal import ArgumentParser
internal import Calibration
internal import Collectives
internal import Datasets
internal import Evaluation
internal import HuggingFace
internal import LinearAlgebra
internal import Models
internal import Parallelism
internal import Quantization
internal import Support
internal import TensorCore

/// Perplexity of a language model with its linear layers rounded, by each method and width.
struct WeightQuantizationBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weights", abstract: "Compares ways to quantize a model's weights, symmetric, with clip search.")

    @Option(help: "A model's folder.")
    var model: String
    @Option(help: "Text to calibrate on.")
    var calibration: String
    @Option(help: "Text to evaluate on.")
    var evaluation: String
    @Option(help: "A method; may be repeated.")
    var method = ["rtn", "gptq"]
    @Option(help: "Bits; may be repeated.")
    var bits = [4, 3, 2]
    @Option(help: "Columns of a group; none: rows.")
    var group: Int?
    @Option(help: "Calibration windows.")
    var sequences = 128
    @Option(help: "Evaluation windows.")
    var windows = 40
    @Option(help: "Tokens of a window.")
    var length = 256
    @Option(help: "Activations that layers are calibrated on: sequential, full-precision.")
    var mode = CalibrationMode.sequential.rawValue
    @Flag(help: "GPTQ: columns of the largest inputs first.")
    var byActivation = false
    @Flag(help: "GPTQ: groups are neighbors as stored, ranges from the weight as it was.")
    var staticGroups = false
    @Flag(help: "Full ranges instead of the best clip ratios.")
    var noClip = false

    func validate() throws {
        guard CalibrationMode(rawValue: mode) != nil else { throw ValidationError("--mode is sequential or full-precision") }
        guard bits.allSatisfy({ (2...8).contains($0) }) else { throw ValidationError("--bits must be 2 to 8") }
        if let unknown = method.first(where: { WeightQuantizations.named($0) == nil }) {
            throw ValidationError("--method \(unknown) is none of \(WeightQuantizations.names.joined(separator: ", "))")
        }
    }

    func run() throws {
        let folder = try ModelFolder(model)
        let parameters = try folder.parameters()
        let network = folder.description.model(positions: length)
        let groups = try ParallelGroups.dataParallel(LoopbackCommunicator())
        let (learned, scored) = (try tokens(calibration, folder, sequences), try tokens(evaluation, folder, windows))
        func score(_ changed: Parameters<Tensor>) throws -> [String] {
            let score = try evaluate(
                network.constantNetwork(changed), against: network.constantNetwork(parameters), windows: scored, groups)
            return [score.perplexity.formatted(decimals: 3), (score.klDivergence ?? 0).formatted(decimals: 4)]
        }
        var table = Table(columns: ["method", "bits", "perplexity", "KL", "seconds"])
        table.add(["full precision", ""] + (try score(parameters)) + [""])
        let granularity = group.map { QuantizerGranularity.group($0) } ?? .channel
        let calibration = Calibration(network, groups, mode: CalibrationMode(rawValue: mode) ?? .sequential)
        for bits in bits {
            let quantizer = WeightQuantizer(
                QuantizerSpec(bits: bits, symmetric: true, granularity: granularity), searchesClip: !noClip)
            for name in method {
                let start = ContinuousClock.now
                let integers = try quantized(by: name) {
                    try calibration.quantize(parameters, windows: learned, hooks: IdentityHooks(), by: $0) { _ in quantizer }
                }
                let seconds = (.now - start) / .seconds(1)
                table.add([name, "\(bits)"] + (try score(parameters.dequantized(integers))) + [seconds.formatted(decimals: 1)])
            }
        }
        print(table.text)
    }

    private func quantized(
        by name: String, _ quantize: (any WeightQuantization) throws -> [String: QuantizedWeight]
    ) throws -> [String: QuantizedWeight] {
        let given = GPTQ(byActivation: byActivation, staticGroups: staticGroups)
        return try quantize(name == GPTQ.name ? given : WeightQuantizations.named(name) ?? given)
    }

    private func tokens(_ path: String, _ folder: ModelFolder, _ count: Int) throws -> [[Int32]] {
        let source = try TokenSource(contentsOf: path, vocabularySize: folder.architecture.vocabularySize) {
            try Tokenizer(folder: folder.path)
        }
        let windows = try Windows(source, length: length, maximum: folder.architecture.maximumPositions, limit: count)
        return (0..<windows.count).map { windows[$0] }
    }
}
