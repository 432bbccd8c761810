internal import Collectives
internal import Configuration
internal import Models
internal import Rotation
internal import TensorCore
internal import Trainer

/// R1 and R2 as random Hadamard matrices.
struct FixedRotations: ModelTransform {
    static let name = QuantizeSettings.Transform.hadamard
    static let key = "hadamard"
    static let label = "Hadamard"
    static let method: String? = "fixed rotations"
    static let rotates = true
    // The learned ones start from these.
    static let isTried = false

    func apply(_ input: TransformInput<some Communicator>) -> Parameters<StoredTensor> {
        input.network.rotated(by: input.recipe.rotation.hadamard, input.recipe.online, input.architecture)
    }
}

extension Parameters<StoredTensor> {
    /// Norms folded where R1 needs it, and ``merging(_:_:_:)``.
    func rotated(by rotations: Rotations, _ online: OnlineRotations, _ architecture: Architecture) -> Self {
        // R2 and R4 stand between two linears each: without R1 the norms stay, and the embedding stays the head.
        (rotations.r1 == nil ? self : fusingNorms(architecture)).merging(rotations, online, architecture)
    }

    /// R1 and R2 merged, and R4 on the down projections' inputs where it is used, for a network with norms folded where R1
    /// needs it. A matrix is made when it is asked for.
    func merging(_ rotations: Rotations, _ online: OnlineRotations, _ architecture: Architecture) -> Self {
        folding(online).map { _, value in value.deferred }.rotated(by: rotations, architecture)
    }

    /// R4 on the down projections' inputs where it is used, made in memory.
    consuming func folding(_ online: OnlineRotations) -> Self {
        guard let r4 = online.r4 else { return self }
        return rotatedDown(by: r4)
    }
}
