internal import Calibration
internal import Collectives
internal import Models
internal import Rotation
internal import Runs
internal import TensorCore

extension Parameters<StoredTensor> {
    /// The same function with channels balanced on the calibration text `windows` (``ChannelBalance``). Collective.
    func balanced(_ run: LanguageModelRun<some Communicator>, on windows: [[Int32]]) throws -> Self {
        let architecture = run.model.architecture
        var moments: [Int: ChannelMoments] = [:]
        let calibration = Calibration(run.model, run.context.groups, mode: .fullPrecision)
        try calibration.run(self, windows: windows, hooks: IdentityHooks()) {
            calibrated in
            let block = calibrated.block
            moments[block, default: ChannelMoments()].note(
                try calibrated.statistics(), at: calibrated.point, blocks[block - firstBlock], architecture.blocks[block].heads)
            return calibrated.layers.map(\.weight)
        }
        var balances: [Int: ChannelBalance] = [:]
        for (block, moments) in moments {
            balances[block] = try ChannelBalance(moments, blocks[block - firstBlock], architecture.blocks[block])
        }
        return balanced(by: balances, architecture)
    }
}
