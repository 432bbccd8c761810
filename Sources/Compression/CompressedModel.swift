internal import Autograd
internal import HuggingFace
package import Models
package import Rotation
package import TensorCore

/// A compressed network, or a rank's stage of one: each linear in the form that runs, and what is done to activations.
package struct CompressedModel: Sendable {
    package var parameters: Parameters<StoredTensor>
    package var execution: Execution
    /// Whether linears round their inputs themselves, see ``inIntegers(_:)``.
    var roundsInLinears = false

    /// A model in memory.
    package init(_ parameters: Parameters<some TensorValue>, _ execution: Execution = .plain) {
        self.parameters = parameters.map { _, value in value.stored }
        self.execution = execution
    }

    /// - Parameter stage: the blocks to read; nil for all.
    /// - Throws: ``FileError``, ``TernaryError``.
    package init(
        reading folder: CompressedFolder, stage: Range<Int>? = nil, storage: WeightStorage = .f32
    ) throws {
        self.init(try folder.folder.parameters(stage, storage: storage), folder.execution)
    }

    /// The model as a network, with its parameters as constants and hooks that apply ``execution``.
    package func network(_ model: Model) -> Network<QuantizedHooks> {
        var hooks = execution.hooks(model.architecture)
        if roundsInLinears {
            hooks.quantization = hooks.quantization.without(HookPoint.allCases.filter { $0 != .key && $0 != .value })
        }
        return Network(model: model, parameters: parameters.map { _, value in Variable(constant: value) }, hooks: hooks)
    }
}
