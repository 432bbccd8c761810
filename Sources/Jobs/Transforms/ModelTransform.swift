internal import Collectives
internal import Compression
internal import Configuration
internal import Models
internal import Rotation
internal import Support
internal import TensorCore
internal import Trainer

/// A change of a network that leaves its function unchanged and makes it easier to round.
///
/// To add one, write it in a file of its own and list it in ``ModelTransforms``; its name is a case of
/// `QuantizeSettings.Transform`.
protocol ModelTransform: Sendable {
    /// Its name in `quantize.transform`.
    static var name: QuantizeSettings.Transform { get }
    /// Its part of keys in `summary.json`.
    static var key: String { get }
    /// Its name for the user.
    static var label: String { get }
    /// Its part of `method` in `summary.json`; nil for none.
    static var method: String? { get }
    /// Whether R1 and R2 are merged into the weights. Norms are then folded, and R3 and R4 may be used at run time.
    static var rotates: Bool { get }
    /// Whether `quantize.recipe=auto` tries it.
    static var isTried: Bool { get }

    /// Why models of this kind cannot be changed in this way, as the text after "this TYPE"; nil where they can.
    func obstacle(_ architecture: Architecture) -> String?

    /// This rank's stage of the network, changed. Collective.
    ///
    /// - Throws: ``TransformObstacle`` where this network cannot be changed so.
    func apply(_ input: TransformInput<some Communicator>) throws -> Parameters<StoredTensor>
}

extension ModelTransform {
    static var rotates: Bool { false }
    static var isTried: Bool { true }
    func obstacle(_ architecture: Architecture) -> String? { nil }

    var name: QuantizeSettings.Transform { Self.name }
    var key: String { Self.key }
    var label: String { Self.label }
    var method: String? { Self.method }
    var rotates: Bool { Self.rotates }
    var isTried: Bool { Self.isTried }
}

/// All transforms.
enum ModelTransforms {
    static let all: [any ModelTransform] = [
        AsStored(), ChannelScaling(), FixedRotations(), LearnedRotations(), ChannelBalancing(),
    ]

    static func named(_ name: QuantizeSettings.Transform) -> any ModelTransform {
        guard let transform = all.first(where: { $0.name == name }) else { preconditionFailure("no transform \(name)") }
        return transform
    }
}

extension [any ModelTransform] {
    /// The network changed by one transform after the other. Collective.
    ///
    /// - Throws: ``TransformObstacle`` where this network cannot be changed so.
    func apply<World: Communicator>(_ input: TransformInput<World>) throws -> Parameters<StoredTensor> {
        var input = input
        for transform in self { input.network = try transform.apply(input) }
        return input.network
    }

    /// Checks that models of this kind can be changed in this way.
    ///
    /// - Parameter path: path of the model.
    /// - Throws: ``ConfigurationError`` that says why they cannot.
    func check(_ architecture: Architecture, _ path: String) throws(ConfigurationError) {
        if rotates { try architecture.checkRotatable(path) }
        for transform in self {
            guard let reason = transform.obstacle(architecture) else { continue }
            throw ConfigurationError("quantize.transform", "\(transform.name): \(path): this \(architecture.type) \(reason)")
        }
    }

    /// In the keys of `summary.json` and of finished layers.
    var key: String { map(\.key).joined(separator: "_") }
    /// In `method` of `summary.json`.
    var method: String { compactMap(\.method).joined(separator: ", ") }
    var rotates: Bool { contains { $0.rotates } }
}

/// The input of a transform.
struct TransformInput<World: Communicator> {
    let run: LanguageModelRun<World>
    let recipe: QuantizeRecipe
    /// This rank's stage, as stored.
    var network: Parameters<StoredTensor>
    /// Sequences for transforms that look at text.
    let calibration: [[Int32]]

    var architecture: Architecture { run.model.architecture }
}

/// An error: a network cannot be changed by a transform.
struct TransformObstacle: ReportableError {
    let reason: String
    var description: String { "model.path: \(reason)" }
    var exitCode: ExitCode { .configuration }
    var isCommon: Bool { true }
}
