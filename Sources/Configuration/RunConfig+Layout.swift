package import Parallelism
internal import Support

/// The configuration against the ranks there are.
extension RunConfig {
    /// The number of replicas and stages for a world of this size.
    /// - Throws: ``ConfigurationError`` where data × pipeline is not the world size.
    package func layout(worldSize: Int) throws(ConfigurationError) -> ParallelDims {
        try layout(worldSize: worldSize, data: parallel.data)
    }

    private func layout(worldSize: Int, data: Int?) throws(ConfigurationError) -> ParallelDims {
        let pipeline = parallel.pipeline ?? data.map { max(1, worldSize / $0) } ?? 1
        let data = data ?? max(1, worldSize / pipeline)
        guard data * pipeline == worldSize else {
            throw ConfigurationError(
                "parallel",
                "data \(data) × pipeline \(pipeline) is \(data * pipeline), and the job has \(counted(worldSize, "rank")); "
                    + "set one of them to auto, or start as many ranks")
        }
        return ParallelDims(data: data, pipeline: pipeline)
    }

    /// All ranks as stages of one model, for a job of which replicas would do the same work once more.
    ///
    /// - Throws: ``ConfigurationError`` where the settings ask for replicas.
    package func stagesAlone(_ job: String, worldSize: Int) throws(ConfigurationError) -> ParallelDims {
        let data = parallel.data ?? parallel.pipeline.map { max(1, worldSize / $0) } ?? 1
        guard data == 1 else {
            throw ConfigurationError(
                parallel.data == nil ? "parallel.pipeline" : "parallel.data",
                "replicas would all do the same work in \(job); leave it out, and all ranks become stages")
        }
        return try layout(worldSize: worldSize, data: 1)
    }

    /// Sequences of a micro-batch where `parallel.microbatches` leaves it open: about 512 tokens, enough rows for a product to
    /// run at full speed, few enough for activations to stay in the cache.
    package var microBatch: Int { max(1, 512 / data.sequenceLength) }

    /// How a replica's share of a step is cut. Where that is left open the number of stages matters only if there would be
    /// fewer micro-batches than stages: results are then the same bits on one stage and on several.
    ///
    /// - Throws: ``ConfigurationError`` where a replica has too few sequences, or there are fewer micro-batches than stages:
    ///   some stage would then always wait.
    package func microBatches(_ dims: ParallelDims) throws(ConfigurationError) -> MicroBatches {
        let smallestShare = training.batchSize / dims.data
        guard smallestShare > 0 else {
            throw ConfigurationError(
                "training.batch_size",
                "\(training.batchSize) is less than one sequence for each of \(dims.data) replicas; raise it, or use fewer "
                    + "ranks"
            )
        }
        if let count = parallel.microbatches {
            guard count >= dims.pipeline else {
                throw ConfigurationError(
                    "parallel.microbatches", "\(count) is less than one for each of \(dims.pipeline) stages; raise it")
            }
            guard count <= smallestShare else {
                throw ConfigurationError(
                    "parallel.microbatches",
                    "\(count) is more than the \(smallestShare) sequences that a replica has of training.batch_size "
                        + "\(training.batchSize); lower it")
            }
            return .count(count)
        }
        guard dims.pipeline == 1 || smallestShare >= dims.pipeline else {
            throw ConfigurationError(
                "training.batch_size",
                "\(training.batchSize) over \(dims.data) replicas gives too few micro-batches for \(dims.pipeline) stages; "
                    + "give at least \(dims.data * dims.pipeline)")
        }
        return .sequences(atMost: microBatch, atLeastCount: dims.pipeline)
    }
}
