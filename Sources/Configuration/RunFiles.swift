internal import Rotation

/// Names of what a run leaves in its folder, where settings refer to it.
package enum RunFiles {
    package static let summary = "summary.json"
    package static let configuration = "config.yaml"
    package static let rotations = Rotations.fileName, rotationArchive = Rotations.archiveName
    /// The model, and its copy in floats where that is asked for.
    package static let model = "model", dense = "dense"
    /// The folder of the forms that the model is exported in.
    package static let exports = "exports"
    /// Of tasks, as lm-eval writes them.
    package static let harness = "results.json"
    /// Packed ternary factors.
    package static let factors = "ternary.safetensors"
    /// Layers that a decomposition has finished, a file each.
    package static let finishedLayers = "decomposition"
}
