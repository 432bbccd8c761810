internal import Calibration
internal import Collectives
internal import Configuration
internal import Models
internal import Rotation
internal import Runs
internal import TensorCore

/// Channels scaled against each other within the weights (``ChannelBalance``), so that rounding them loses least.
struct ChannelBalancing: ModelTransform {
    static let name = QuantizeSettings.Transform.balance
    static let key = "balanced"
    static let label = "balanced"
    static let method: String? = "channel balance"
    // It is used before other transforms.
    static let isTried = false

    func apply(_ input: TransformInput<some Communicator>) throws -> Parameters<StoredTensor> {
        input.network.balanced(by: try Self.balances(input.network, input.run, on: input.calibration), input.architecture)
    }

    /// The balances of the blocks of this rank's stage, by their place in the model. Collective.
    ///
    /// - Parameter windows: the calibration text.
    static func balances(
        _ network: Parameters<StoredTensor>, _ run: LanguageModelRun<some Communicator>, on windows: [[Int32]]
    ) throws -> [Int: ChannelBalance] {
        let architecture = run.model.architecture
        var moments: [Int: ChannelMoments] = [:]
        let calibration = Calibration(
            run.model, run.context.groups, mode: .fullPrecision, storage: run.context.activationStorage)
        try calibration.run(network, windows: windows, hooks: IdentityHooks()) { calibrated in
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
        return balances
    }
}
