internal import Glibc
package import Support

/// The contents of `summary.json`. Units are in the keys; a number that is not finite is written as null.
package struct RunSummary: Sendable {
    package var job: String
    package var model: String
    package var seed: Int
    package var worldSize: Int
    package var dataParallel: Int
    package var pipelineParallel: Int
    package var steps: Int
    /// Seconds of the whole job.
    package var seconds: Double
    /// Mean seconds of a step.
    package var secondsPerStep: Double
    /// Tokens of a step over all ranks.
    package var tokensPerStep: Int
    package var peakMemoryBytesPerRank: [Int]
    /// Bytes sent in a step by the rank that sends most; nil where it was not measured.
    package var bytesSentPerStep: Int?
    /// Floating-point operations that the algorithm needs for a step, over all ranks.
    package var flopsPerStep: Double
    /// Operations per second of a large matrix product on one rank that has a core for each of its threads.
    package var gemmPeakFlops: Double
    /// The same for float32 products, whatever precision the job's products have.
    package var floatPeakFlops: Double
    /// The kernels that OpenBLAS and this program have chosen on rank 0. Results differ in rounding between kernels.
    package var openBLASCore: String
    package var kernels: String
    /// The share of these cores that a rank has where other ranks run on them, too; mean over the ranks.
    package var coreShare: Double
    /// Results that the job adds.
    package var results = JSONObject()

    package init(
        job: String, model: String, seed: Int, worldSize: Int, dataParallel: Int, pipelineParallel: Int, steps: Int,
        seconds: Double,
        secondsPerStep: Double, tokensPerStep: Int, peakMemoryBytesPerRank: [Int], bytesSentPerStep: Int?, flopsPerStep: Double,
        gemmPeakFlops: Double, floatPeakFlops: Double, openBLASCore: String, kernels: String, coreShare: Double
    ) {
        self.job = job
        self.model = model
        self.seed = seed
        self.worldSize = worldSize
        self.dataParallel = dataParallel
        self.pipelineParallel = pipelineParallel
        self.steps = steps
        self.seconds = seconds
        self.secondsPerStep = secondsPerStep
        self.tokensPerStep = tokensPerStep
        self.peakMemoryBytesPerRank = peakMemoryBytesPerRank
        self.bytesSentPerStep = bytesSentPerStep
        self.flopsPerStep = flopsPerStep
        self.gemmPeakFlops = gemmPeakFlops
        self.floatPeakFlops = floatPeakFlops
        self.openBLASCore = openBLASCore
        self.kernels = kernels
        self.coreShare = coreShare
    }

    package var tokensPerSecond: Double { Double(tokensPerStep) / secondsPerStep }

    /// The needed operations per second divided by those that all ranks' matrix products reach on their cores.
    package var modelFlopsUtilization: Double {
        flopsPerStep / (secondsPerStep * gemmPeakFlops * coreShare * Double(worldSize))
    }

    package var json: JSONValue {
        let common: JSONValue = [
            "job": .string(job), "model": .string(model), "seed": .integer(seed),
            "world_size": .integer(worldSize), "data_parallel": .integer(dataParallel),
            "pipeline_parallel": .integer(pipelineParallel),
            "steps": .integer(steps), "seconds": .double(seconds), "seconds_per_step": .double(secondsPerStep),
            "tokens_per_second": .double(tokensPerSecond),
            "peak_memory_bytes_per_rank": .array(peakMemoryBytesPerRank.map { .integer($0) }),
            "bytes_sent_per_step": .init(bytesSentPerStep),
            "flops_per_step": .double(flopsPerStep), "gemm_peak_flops": .double(gemmPeakFlops),
            "float32_gemm_peak_flops": .double(floatPeakFlops),
            "openblas_core": .string(openBLASCore), "kernels": .string(kernels), "core_share": .double(coreShare),
            "model_flops_utilization": .double(modelFlopsUtilization),
        ]
        var object = common.object ?? JSONObject()
        for (key, value) in results.members { object[key] = value }
        return .object(object)
    }

    /// The peak memory of this process, in bytes.
    package static var peakMemoryBytes: Int {
        var usage = rusage()
        return getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 ? Int(usage.ru_maxrss) * 1024 : 0
    }
}
