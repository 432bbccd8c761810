internal import Glibc
package import Parallelism
package import Support

/// The contents of `summary.json`. Units are in the keys; a number that is not finite is written as null.
package struct RunSummary: Sendable {
    package var job: String
    package var model: String
    package var seed: Int
    /// Over all ranks.
    package var dims: ParallelDims
    /// Seconds of the whole job.
    package var seconds: Double
    package var steps: MeasuredSteps
    package var machine: MeasuredRanks
    /// Results that the job adds.
    package var results: JSONObject

    package init(
        job: String, model: String, seed: Int, dims: ParallelDims, seconds: Double, _ steps: MeasuredSteps,
        _ machine: MeasuredRanks, _ results: JSONObject = JSONObject()
    ) {
        (self.job, self.model, self.seed, self.dims) = (job, model, seed, dims)
        (self.seconds, self.steps, self.machine, self.results) = (seconds, steps, machine, results)
    }

    package var tokensPerSecond: Double { Double(steps.tokens) / steps.seconds }

    /// The needed operations per second divided by those that all ranks' matrix products reach on their cores.
    package var modelFlopsUtilization: Double {
        steps.flops / (steps.seconds * machine.productFlops * machine.coreShare * Double(dims.worldSize))
    }

    package var json: JSONValue {
        let common: JSONValue = [
            "job": .string(job), "model": .string(model), "seed": .integer(seed),
            "world_size": .integer(dims.worldSize), "data_parallel": .integer(dims.data),
            "pipeline_parallel": .integer(dims.pipeline),
            "steps": .integer(steps.count), "seconds": .double(seconds), "seconds_per_step": .double(steps.seconds),
            "tokens_per_second": .double(tokensPerSecond),
            "peak_memory_bytes_per_rank": .array(machine.peakMemoryBytes.map { .integer($0) }),
            "bytes_sent_per_step": .init(steps.bytesSent),
            "flops_per_step": .double(steps.flops), "gemm_peak_flops": .double(machine.productFlops),
            "float32_gemm_peak_flops": .double(machine.floatProductFlops),
            "openblas_core": .string(machine.openBLASCore), "kernels": .string(machine.kernels),
            "core_share": .double(machine.coreShare),
            "model_flops_utilization": .double(modelFlopsUtilization),
        ]
        var object = common.object ?? JSONObject()
        for (key, value) in results.members { object[key] = value }
        return .object(object)
    }
}

/// The steps of a job, as measured; an evaluation is one step.
package struct MeasuredSteps: Sendable {
    package var count: Int
    /// Mean of a step.
    package var seconds: Double
    /// Of a step, over all ranks.
    package var tokens: Int
    /// Bytes sent in a step by this rank, in a summary by the rank that sends most; nil where it was not measured.
    package var bytesSent: Int?
    /// Floating-point operations that the algorithm needs for a step, over all ranks.
    package var flops: Double

    package init(count: Int, seconds: Double, tokens: Int, bytesSent: Int?, flops: Double) {
        (self.count, self.seconds, self.tokens) = (count, seconds, tokens)
        (self.bytesSent, self.flops) = (bytesSent, flops)
    }
}

/// The processes of a job and what they run on, as measured.
package struct MeasuredRanks: Sendable {
    /// Of each rank.
    package var peakMemoryBytes: [Int]
    /// Operations per second of a large matrix product on one rank that has a core for each of its threads; mean over ranks.
    package var productFlops: Double
    /// The same for float32 products, whatever precision the job's products have.
    package var floatProductFlops: Double
    /// The kernels that OpenBLAS and this program have chosen on rank 0. Results differ in rounding between kernels.
    package var openBLASCore: String
    package var kernels: String
    /// The share of these cores that a rank has where other ranks run on them, too; mean over the ranks.
    package var coreShare: Double

    package init(
        peakMemoryBytes: [Int], productFlops: Double, floatProductFlops: Double, openBLASCore: String, kernels: String,
        coreShare: Double
    ) {
        (self.peakMemoryBytes, self.productFlops, self.floatProductFlops) = (peakMemoryBytes, productFlops, floatProductFlops)
        (self.openBLASCore, self.kernels, self.coreShare) = (openBLASCore, kernels, coreShare)
    }

    /// The peak memory of this process, in bytes.
    package static var ownPeakMemoryBytes: Int {
        var usage = rusage()
        return getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 ? Int(usage.ru_maxrss) * 1024 : 0
    }
}
