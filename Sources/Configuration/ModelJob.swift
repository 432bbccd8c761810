package import Models

/// The jobs on a model, by their names on the command line and in `summary.json`. `plan` computes the cost of each, and `sweep`
/// runs a grid of them.
package enum ModelJob: String, Choice { case rotate, train, qat, ptq, quantize, eval }

extension ModelJob {
    /// How the job can keep the model's weights, those of more memory first: it has to write to weights that it changes.
    package var storages: [WeightStorage] {
        switch self {
        case .rotate, .quantize, .eval: [.f32, .bf16, .file]
        case .ptq: [.f32, .file]
        case .train, .qat: [.f32]
        }
    }
}
