internal import Collectives
internal import Configuration
internal import Models
internal import Rotation
internal import Runs
internal import TensorCore

/// The network before R1 and R2: with channels balanced where `rotation.balance` says so, and norms folded. It is made from the
/// stored network more than once, since that is read again where two copies would take too much memory.
struct RotationBase {
    /// Balances by a block's place in the model; nil where nothing is balanced.
    private let balances: [Int: ChannelBalance]?
    private let architecture: Architecture

    /// Looks at the calibration text where channels are to be balanced. Collective.
    ///
    /// - Parameter network: this rank's stage as stored.
    static func of(_ network: Parameters<StoredTensor>, _ run: LanguageModelRun<some Communicator>) throws -> Self {
        let balances =
            run.context.config.rotation.balance
            ? try ChannelBalancing.balances(network, run, on: run.calibrationWindows(drawingFrom: network)) : nil
        return Self(balances: balances, architecture: run.model.architecture)
    }

    var isBalanced: Bool { balances != nil }

    /// The transforms before norms are folded.
    var transforms: [any ModelTransform] { isBalanced ? [ChannelBalancing()] : [] }

    /// The same for the user.
    var prefix: String { transforms.map { "\($0.label), " }.joined() }

    /// - Parameters:
    ///   - network: the network as stored.
    ///   - foldsNorms: false where no R1 is merged. Then norms stay, and a tied embedding stays the head.
    func applied<Value: TensorValue>(to network: consuming Parameters<Value>, foldsNorms: Bool = true) -> Parameters<Value> {
        var balanced = consume network
        if let balances { balanced = (consume balanced).balanced(by: balances, architecture) }
        return foldsNorms ? (consume balanced).fusingNorms(architecture) : balanced
    }
}
