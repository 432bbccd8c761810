import Collectives
import HuggingFace
import Parallelism
import Support
import TestSupport
import Testing

@testable import Configuration
@testable import Jobs
@testable import Runs

/// A model whose norms stand on the residual stream, with matrices between its embedding, its blocks and its head.
@Suite struct NormsOnTheStreamTests {
    private static let model = GoldenSuite.ownFolder + "/llama/opt350_style_hf"
    private static let inEightBits = [
        "quantization.weights.bits=8", "quantization.activations.bits=8", "quantization.kv.bits=16",
    ]

    private func quantize(_ folder: TemporaryFolder, _ settings: [String]) throws -> JSONValue {
        let config = try SettingsRequest(
            assignments: [
                "model.path=\(Self.model)", "data.sequence_length=16", "data.sampled_sequences=12", "data.eval.windows=2",
                "calibration.sequences=6", "quantize.held_out=4", "out=\(folder.file("run"))",
            ] + Self.inEightBits + settings
        ).configuration(job: "quantize")
        try QuantizeJob().run(
            JobContext(
                config: config, groups: try ParallelGroups(.alone, LoopbackCommunicator()),
                folder: RunFolder(folder.file("run"), isWriter: true), reporter: Reporter(isSpeaking: false)))
        return try InputFile.json(folder.file("run") + "/summary.json")
    }

    /// Its norms' outputs go on as the stream: dividing them would change the function.
    @Test func `smoothing of norms on the stream is refused at once, and a search says why it left it out`() throws {
        let folder = try TemporaryFolder()
        let error = #expect(throws: (any Error).self) { try quantize(folder, ["quantize.transform=smoothquant"]) }
        #expect(
            error.map { "\($0)" }?.contains("quantize.transform: smoothquant: \(Self.model): this opt has no norms") == true)
        #expect(try entries(ofFolder: folder.path).isEmpty)
        let recipes = try #require(try quantize(folder, ["quantize.recipe=auto"])["recipes"]?.array)
        for key in ["smooth_rtn", "smooth_gptq"] {
            let recipe = try #require(recipes.first { $0["key"]?.string == key })
            #expect(recipe["kl_divergence"] == nil)
            #expect(recipe["verdict"]?.string?.contains("no norms whose factors only linear layers read") == true)
        }
    }

    /// Other programs take every matrix that is a layer of its own for a packed one unless told otherwise.
    @Test func `matrices between embedding, blocks and head are listed as not packed`() throws {
        let folder = try TemporaryFolder()
        _ = try quantize(folder, [])
        let config = try InputFile.json(folder.file("run/model/config.json"))
        #expect(
            config["quantization_config"]?["ignore"]?.array?.compactMap(\.string)
                == ["model.decoder.project_in", "model.decoder.project_out", "lm_head"])
    }

    @Test(
        arguments: [
            ["plan.job=quantize", "quantize.transform=learned"], ["plan.job=quantize", "quantize.transform=hadamard"],
            ["plan.job=quantize", "quantize.transform=smoothquant"], ["plan.job=eval", "eval.hadamard=true"],
            ["plan.job=qat", "qat.method=integer", "qat.rotations=R.bin"], ["plan.job=rotate"],
        ])
    func `no job is planned that would refuse the model`(_ settings: [String]) throws {
        func plan(_ settings: [String]) throws {
            let machine = ["plan.cores_per_node=4", "plan.gemm_flops=1e11", "data.sequence_length=16"]
            try PlanJob(Self.model, asJSON: true).run(
                RunConfig(assignments: machine + Self.inEightBits + settings), LoopbackCommunicator(),
                Reporter(isSpeaking: false))
        }
        let error = #expect(throws: (any Error).self) { try plan(settings) }
        #expect(error.map { "\($0)" }?.contains("\(Self.model): this opt ") == true)
        try plan([settings[0] == "plan.job=rotate" ? "plan.job=train" : settings[0]])
    }
}
