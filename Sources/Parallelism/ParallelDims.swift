package import Collectives

/// How the ranks of a job are arranged: replicas of the model, each divided into stages.
///
/// rank = replica · stages + stage. The stages of a replica are neighbors, so that a node holds whole replicas where possible:
/// when rotations are learned, a replica sends 3 · tokens · h numbers over each stage boundary in a step, while replicas
/// exchange h²/2.
package struct ParallelDims: Sendable, Equatable {
    package let data: Int
    package let pipeline: Int

    package init(data: Int, pipeline: Int) {
        precondition(data > 0 && pipeline > 0, "\(data) replicas of \(pipeline) stages")
        self.data = data
        self.pipeline = pipeline
    }

    /// One rank with the whole model.
    package static let alone = ParallelDims(data: 1, pipeline: 1)

    package var worldSize: Int { data * pipeline }

    /// The replica that a rank belongs to.
    package func replica(of rank: Int) -> Int { rank / pipeline }

    /// The stage that a rank holds in its replica.
    package func stage(of rank: Int) -> Int { rank % pipeline }
}

/// This rank's place among replicas and stages, and the groups it communicates in.
package struct ParallelGroups<World: Communicator> {
    package let dims: ParallelDims
    /// All ranks.
    package let world: World
    /// The stages of this rank's replica, by stage.
    package let pipeline: World
    /// This rank's stage in all replicas, by replica.
    package let replicas: World

    package var replica: Int { replicas.rank }
    package var stage: Int { pipeline.rank }
    package var isFirst: Bool { stage == 0 }
    package var isLast: Bool { stage == dims.pipeline - 1 }
    /// Bytes that this rank has sent in all groups so far.
    package var bytesSent: Int { world.bytesSent + pipeline.bytesSent + replicas.bytesSent }

    /// Collective over `world`.
    ///
    /// - Precondition: `dims` has a place for every rank of the world.
    package init(_ dims: ParallelDims, _ world: World) throws(MPIError) {
        precondition(dims.worldSize == world.size, "\(dims) for \(world.size) ranks")
        let (replica, stage) = (dims.replica(of: world.rank), dims.stage(of: world.rank))
        guard let pipeline = try world.split(color: replica, key: stage),
            let replicas = try world.split(color: stage, key: replica)
        else { preconditionFailure("a split with a color gives a communicator") }
        self.dims = dims
        self.world = world
        self.pipeline = pipeline
        self.replicas = replicas
    }

    /// Groups in which every rank is a replica of the whole model.
    package static func dataParallel(_ world: World) throws(MPIError) -> ParallelGroups {
        try ParallelGroups(ParallelDims(data: world.size, pipeline: 1), world)
    }

    /// Sums the values of the last stages over the replicas, and gives the result to all ranks with the same bits. Collective.
    package func sumFromLastStage(_ values: [Double]) throws(MPIError) -> [Double] {
        var sums = values
        if isLast { try replicas.allReduce(&sums, .sum) }
        try sums.withUnsafeMutableBufferPointer { data throws(MPIError) in
            try pipeline.broadcast(UnsafeMutableRawBufferPointer(data), root: dims.pipeline - 1)
        }
        return sums
    }
}
