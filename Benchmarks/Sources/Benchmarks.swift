internal import ArgumentParser

/// Measures kernels, and makes random models to measure runs on. Each subcommand prints one table.
@main
struct Benchmarks: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "benchmarks", abstract: "Measures kernels, and makes random models to measure runs on.",
        subcommands: [
            TransformBenchmark.self, QuantizeBenchmark.self, ProductBenchmark.self, IntegerBenchmark.self,
            DecomposeBenchmark.self, GPTQBenchmark.self, WeightQuantizationBenchmark.self, RandomLlama.self,
        ])
}
