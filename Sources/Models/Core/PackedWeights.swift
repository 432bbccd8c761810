package import HuggingFace
internal import Support
package import TensorCore

/// The linear layers of a folder that are kept in another form than as matrices of floats.
package protocol PackedWeights: Sendable {
    /// What they are, such as `ternary factors`.
    var form: String { get }
    /// Names of the linears that are ternary factors, of those that are integers, and of embedding and head where they are
    /// integers.
    var ternary: Set<String> { get }
    var integers: Set<String> { get }
    var tables: Set<String> { get }
    /// The parameters that are kept so, by name.
    var weights: Set<String> { get }
    /// The checkpoint's tensors that they are kept in; none where another file has them.
    var tensors: Set<String> { get }
    /// What the user should know of how they were read, a sentence each.
    var warnings: [String] { get }
    /// In files.
    func byteCount(of weight: String) throws -> Int
    func read(_ weight: String) throws -> any LinearOperator
}

/// What linears and tables are, such as `ternary factors (7 linears) and integers (lm_head)`.
package enum PackedForm {
    package static func text(ternary: Int, integers: Int, tables: Set<String>) -> String {
        let linears = [("ternary factors", ternary), ("integers", integers)].filter { $0.1 > 0 }
            .map { "\($0.0) (\($0.1) linears)" }
        return (linears + (tables.isEmpty ? [] : ["integers (\(tables.sorted().joined(separator: ", ")))"]))
            .joined(separator: " and ")
    }
}

extension PackedWeights {
    package var warnings: [String] { [] }
}

/// Finds the packed weights of a folder; nil where all weights are floats.
package typealias PackedWeightsReader = (Checkpoint, HFConfig, Architecture) throws -> (any PackedWeights)?

/// The type of model that config.json names where no other program can run the folder, and where the true one stands then.
///
/// transformers and others skip a method of quantization that they do not know, and fill in random weights; a type of model
/// that they do not know they refuse.
package enum PackedModelType {
    package static let name = "sq-train"
    /// The member that describes how the model is run, with its type in `model_type`.
    package static let key = "sq_train"

    /// The configuration with the model's own type.
    ///
    /// - Throws: ``FileError`` where the type is not said.
    static func restored(_ config: HFConfig) throws(FileError) -> HFConfig {
        guard config.json["model_type"]?.string == name else { return config }
        guard let own = try config.object(key) else { throw config.failure(key, "is missing, and model_type is \(name)") }
        var result = config
        result.json["model_type"] = .string(try own.string("model_type"))
        return result
    }
}
