package import HuggingFace
package import Models
package import TensorCore

extension ModelFolder {
    /// Writes a folder with other parameters for the same graph: config.json, weights, tokenizer and generation files.
    ///
    /// - Parameters:
    ///   - parameters: of the whole model; see ``ModelFolderWriter`` for stages.
    ///   - type: F32, F16 or BF16.
    ///   - folder: replaced as a whole, or left as it was if anything fails.
    package func write(_ parameters: Parameters<some TensorValue>, as type: ElementType, to folder: String) throws {
        let writer = try HFFolderWriter(folder)
        try Checkpoint.write(
            parameters.named.map { TensorSource($0.name, $0.value.tensor, as: type) }, to: writer.temporaryPath)
        try finish(writer, as: type, tied: parameters.tiesHead)
    }
}
