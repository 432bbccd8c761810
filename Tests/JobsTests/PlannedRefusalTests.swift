import Collectives
import Configuration
import Support
import TestSupport
import Testing

@testable import Jobs
@testable import Runs

/// `plan` of a job that would end at once, by its settings or by what they ask of the model.
@Suite struct PlannedRefusalTests {
    private static let groups = ["quantization.weights.granularity=group", "quantization.weights.group_size=7"]

    private static let refused: [(job: ModelJob, settings: [String], key: String)] = [
        (.ptq, ["ternary.tolerance=1e-6"], "ternary.tolerance"), (.ptq, ["ternary.bits=2"], "ternary.bits"),
        (.ptq, ["ternary.layers=nothing.*"], "ternary.layers"), (.ptq, ["model.storage=bf16"], "model.storage"),
        (.qat, ["ternary.tolerance=1e-6"], "ternary.tolerance"), (.qat, ["ternary.weighting=inputs"], "ternary.weighting"),
        (.qat, ["ternary.layers=nothing.*"], "ternary.layers"),
        (.qat, ["qat.method=integer", "quantization.weights.bits=4"] + groups, "quantization.weights.group_size"),
        (.quantize, ["quantization.weights.bits=16"], "quantization.weights.bits"),
        (.quantize, ["quantization.weights.bits=4", "quantization.overrides=nothing=8"], "quantization.overrides"),
        (.quantize, ["quantization.weights.bits=4"] + groups, "quantization.weights.group_size"),
        (.rotate, ["quantization.weights.method=gptq"], "quantization.weights.method"),
        (.rotate, ["rotation.train_weight_bits=4"] + groups, "quantization.weights.group_size"),
        (
            .rotate, ["rotation.objective=range", "quantization.activations.bits=16", "quantization.kv.bits=16"],
            "rotation.objective"
        ),
        (.train, ["model.storage=bf16"], "model.storage"), (.train, ["export.formats=compressed-tensors"], "export.formats"),
        (.eval, ["export.formats=gguf-f16"], "export.formats"), (.eval, ["eval.product=integer"], "eval.product"),
        (.eval, ["quantization.weights.bits=4", "quantization.overrides=nothing=8"], "quantization.overrides"),
    ]

    @Test(arguments: refused.indices) func `what a job refuses its plan refuses in the same words`(_ index: Int) throws {
        let (job, settings, key) = Self.refused[index]
        let (planned, run) = try outcomes(job, settings)
        #expect(planned?.hasPrefix(key) == true, "\(planned ?? "planned")")
        #expect(planned == run, "\(run ?? "done")")
    }

    /// More than there are sequences: of steps that have none.
    @Test(arguments: ["range", "weights"]) func `steps without the network take any number of micro-batches`(
        _ objective: String
    ) throws {
        let (planned, run) = try outcomes(
            .rotate, ["rotation.objective=\(objective)", "parallel.microbatches=8", "quantization.activations.bits=8"])
        #expect(planned == nil && run == nil, "\(planned ?? ""); \(run ?? "")")
    }

    /// What a job's plan and its run end with; nil where they do all.
    private func outcomes(_ job: ModelJob, _ settings: [String]) throws -> (planned: String?, run: String?) {
        let folder = try TemporaryFolder()
        let (world, reporter) = (LoopbackCommunicator(), Reporter(isSpeaking: false))
        let request = SettingsRequest(
            assignments: [
                "data.eval.windows=1", "data.sequence_length=16", "data.sampled_sequences=1", "training.steps=1",
                "training.batch_size=1", "out=\(folder.file("run"))",
            ] + settings)
        func words(_ work: () throws -> Void) -> String? {
            do {
                try work()
                return nil
            } catch {
                return "\(error)"
            }
        }
        let planned = words {
            let cluster = ["plan.job=\(job.rawValue)", "plan.gemm_flops=1e11", "plan.memory_per_node=8GiB"]
            var request = request
            request.assignments += cluster
            try PlanJob(nil, asJSON: true).run(request.configuration(job: PlanSettings.command), world, reporter)
        }
        return (planned, words { try job.job.run(JobRequest(request), reporter, on: world) })
    }
}
