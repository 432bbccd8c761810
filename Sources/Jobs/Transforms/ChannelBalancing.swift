internal import Calibration
internal import Collectives
internal import Configuration
internal import Models
internal import Rotation
internal import Runs
internal import TensorCore

/// Channels scaled against each other within the weights (``ChannelBalance``), so that rounding them costs least.
struct ChannelBalancing: ModelTransform {
    static let name = QuantizeSettings.Transform.balance
    static let key = "balanced"
    static let label = "balanced"
    static let method: String? = "channel balance"
    // It is for what other transforms start from.
    static let isTried = false

    func readsText(_ config: RunConfig) -> Bool { true }

    func apply(_ input: TransformInput<some Communicator>) throws -> Parameters<StoredTensor> {
        let (network, architecture) = (input.network, input.architecture)
        var moments: [Int: ChannelMoments] = [:]
        let calibration = Calibration(input.run.model, input.run.context.groups, mode: .fullPrecision)
        try calibration.run(network, windows: input.calibration, hooks: IdentityHooks()) { calibrated in
            let block = calibrated.block
            moments[block, default: ChannelMoments()].note(
                try calibrated.statistics(), at: calibrated.point, network.blocks[block - network.firstBlock],
                architecture.blocks[block].heads)
            return calibrated.layers.map(\.weight)
        }
        var balances: [Int: ChannelBalance] = [:]
        for (block, moments) in moments {
            balances[block] = try ChannelBalance(
                moments, network.blocks[block - network.firstBlock], architecture.blocks[block])
        }
        return network.balanced(by: balances, architecture)
    }
}
