internal import Calibration
internal import Configuration
internal import Models
internal import Runs

extension JobContext {
    /// Where calibrations keep activations: in a file, if weights are read from their files, too.
    var activationStorage: ActivationStorage {
        switch config.model.storage {
        case .f32, .bf16: .memory
        case .file: .file(folder: folder.path)
        }
    }
}
