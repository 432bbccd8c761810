/// The jobs on a model, by their names on the command line and in `summary.json`. `plan` computes the cost of each, and `sweep`
/// runs a grid of them.
package enum ModelJob: String, Choice { case rotate, train, qat, ptq, quantize, eval }
