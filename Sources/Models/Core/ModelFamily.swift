package import Autograd
package import GGUF
package import HuggingFace
package import Support
internal import Synchronization

/// A family of networks: how its config.json is read, what its models are made of, and its graph.
///
/// To add a family, write this in a folder of its own and list it in ``ModelRegistry``.
package protocol ModelFamily: Sendable {
    /// The values of `model_type` in config.json that are this family's.
    static var modelTypes: Set<String> { get }
    associatedtype Configuration: Sendable, Equatable

    /// - Throws: ``FileError`` naming the key that is missing or has a value this program cannot run.
    static func configuration(_ keys: HFConfig) throws(FileError) -> Configuration
    static func architecture(_ configuration: Configuration) -> Architecture

    /// The form that llama.cpp reads, or the reason why it has none, which is the default.
    static func gguf(_ configuration: Configuration) -> GGUFSupport
    /// The values of `general.architecture` in files that `configuration(of:)` reads.
    static var ggufArchitectures: Set<String> { get }
    /// The config.json of a GGUF file's model.
    static func configuration(of file: GGUFFile) throws(FileError) -> JSONObject

    /// - Parameter positions: longest sequence that will be run.
    init(_ configuration: Configuration, positions: Int)

    /// Tokens to the residual stream [rows, h].
    func enter(
        _ tokens: [Int32], _ entry: ParameterGroup<Variable>, context: some AttentionContext, hooks: some HookTransform,
        on tape: Tape
    ) -> Variable

    /// A block's output from its input, both [rows, h].
    func block(
        _ x: Variable, _ index: Int, _ parameters: ParameterGroup<Variable>, context: some AttentionContext,
        hooks: some HookTransform, on tape: Tape
    ) -> Variable

    /// What the head makes logits of, [rows, h].
    func exit(_ x: Variable, _ exit: ParameterGroup<Variable>, hooks: some HookTransform, on tape: Tape) -> Variable
}

/// The families there are, by `model_type`.
package enum ModelRegistry {
    private struct Entry {
        let types: Set<String>
        let describe: @Sendable (HFConfig) throws -> ModelDescription
        let ggufArchitectures: Set<String>
        let configuration: @Sendable (GGUFFile) throws -> JSONObject

        init<Family: ModelFamily>(_ family: Family.Type) {
            types = family.modelTypes
            ggufArchitectures = family.ggufArchitectures
            configuration = { try Family.configuration(of: $0) }
            describe = { ModelDescription(Family.self, try Family.configuration($0)) }
        }
    }

    private static let entries = Mutex([Entry(Llama.self), Entry(OPT.self)])

    /// Adds a family that is defined elsewhere.
    package static func register<Family: ModelFamily>(_ family: Family.Type) {
        let entry = Entry(family)
        entries.withLock { entries in
            entries.removeAll { !$0.types.isDisjoint(with: entry.types) }
            entries.append(entry)
        }
    }

    /// - Throws: ``FileError`` for a type of no family, or what the family finds wrong.
    package static func model(_ keys: HFConfig) throws -> ModelDescription {
        let keys = try PackedModelType.restored(keys)
        let type = try keys.string("model_type")
        let entries = entries.withLock { $0 }
        guard let entry = entries.first(where: { $0.types.contains(type) }) else {
            let known = entries.flatMap(\.types).sorted().joined(separator: ", ")
            throw keys.failure("model_type", "\(type) is not a family this program runs; it runs \(known)")
        }
        return try entry.describe(keys)
    }

    /// The configuration of a model by the path that stands for it: a folder, a config.json, or a GGUF file, of which only
    /// the head is read.
    ///
    /// - Throws: ``FileError``; as ``configuration(of:)``.
    package static func configuration(at path: String) throws -> HFConfig {
        if GGUFFile.isNamed(by: path) { return try configuration(of: GGUFFile(path)) }
        return try path.hasSuffix(".json") ? HFConfig(path) : configuration(ofFolder: path)
    }

    /// The config.json of a folder.
    ///
    /// - Throws: ``FileError``; where the path is a file's, saying what would be read instead.
    static func configuration(ofFolder path: String) throws(FileError) -> HFConfig {
        guard PathKind(path, followsLinks: true) != .file else {
            throw FileError(
                .malformed, path,
                GGUFFile.isNamed(by: path)
                    ? "is a GGUF file, but a folder is needed; make one with sq-train import"
                    : "is neither a model's folder nor a GGUF file; give the folder that holds config.json")
        }
        return try HFConfig(path + "/config.json")
    }

    /// The config.json of the model in a GGUF file.
    ///
    /// - Throws: ``FileError`` for an architecture of no family, or what the family finds wrong.
    package static func configuration(of file: GGUFFile) throws -> HFConfig {
        guard let name = file["general.architecture"]?.string else {
            throw file.failure("general.architecture", "is missing or not a string")
        }
        let entries = entries.withLock { $0 }
        guard let entry = entries.first(where: { $0.ggufArchitectures.contains(name) }) else {
            let known = entries.flatMap(\.ggufArchitectures).sorted().joined(separator: ", ")
            throw file.failure("general.architecture", "\(name) is not supported; supported are \(known)")
        }
        return HFConfig(try entry.configuration(file), path: file.path)
    }
}

/// A model that config.json describes: its architecture, and how to make its network.
package struct ModelDescription: Sendable {
    package let architecture: Architecture
    /// The form that llama.cpp reads, or why there is none. Computed when it is asked for: it may take as long as a head is
    /// said to be wide, which the tensors have to agree with first.
    package var gguf: GGUFSupport { form() }
    private let form: @Sendable () -> GGUFSupport
    private let make: @Sendable (_ positions: Int) -> Model

    package init<Family: ModelFamily>(_ family: Family.Type, _ configuration: Family.Configuration) {
        let architecture = Family.architecture(configuration)
        self.architecture = architecture
        form = { Family.gguf(configuration) }
        make = { Model(Family(configuration, positions: $0), architecture) }
    }

    /// - Parameter positions: longest sequence that will be run.
    package func model(positions: Int) -> Model { make(positions) }
}
