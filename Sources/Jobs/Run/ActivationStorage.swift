internal import Calibration
internal import Configuration
internal import Models
internal import Runs

extension JobContext {
    /// Where calibrations keep activations: with the weights in their files, these are in a file, too.
    var activationStorage: ActivationStorage {
        switch config.model.storage {
        case .f32, .bf16: .memory
        case .file: .file(folder: folder.path)
        }
    }
}
