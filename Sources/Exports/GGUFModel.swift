internal import GGUF
internal import HuggingFace
internal import Models
internal import Support
internal import TensorCore

/// A model in a GGUF file: its configuration, and its parameters under the names that a checkpoint has.
struct GGUFModel {
    let file: GGUFFile
    /// The same as a config.json.
    let config: HFConfig
    let description: ModelDescription
    let form: GGUFForm

    /// - Throws: ``FileError`` where the file is of no family here, or its tensors are not those its values ask for.
    init(_ path: String) throws {
        file = try GGUFFile(path)
        config = try ModelRegistry.configuration(of: file)
        description = try ModelRegistry.model(config)
        guard case .form(let form) = description.gguf else {
            throw file.failure("general.architecture", "describes a network that this program does not read from GGUF")
        }
        self.form = form
        try checkTensors()
    }

    /// Parameters that are read: without the head where the file leaves it to the embedding.
    var entries: [GGUFForm.Entry] { form.entries.filter { $0.role != .head || !description.architecture.tiesHead } }

    private func checkTensors() throws(FileError) {
        var expected = Set(form.constants.map(\.name))
        for entry in entries {
            expected.insert(entry.name)
            guard let info = file.info(entry.name) else { throw file.failure("tensor \(entry.name)", "is missing") }
            guard info.shape == entry.shape else {
                throw file.failure("tensor \(entry.name)", "has shape \(info.shape); the file's values say \(entry.shape)")
            }
        }
        if let unexpected = file.tensors.first(where: { !expected.contains($0.name) }) {
            throw file.failure("tensor \(unexpected.name)", "belongs to no layer of the model that the file's values describe")
        }
    }

    /// All parameters as a checkpoint has them.
    func parameters() throws -> Parameters<Tensor> {
        let entries = Dictionary(uniqueKeysWithValues: entries.map { ($0.parameter, $0) })
        return try description.architecture.parameters().map { name, _ in
            guard let entry = entries[name] else { preconditionFailure("\(name) has no place in GGUF") }
            return try read(entry)
        }
    }

    /// A parameter as a checkpoint has it.
    func read(_ entry: GGUFForm.Entry) throws(FileError) -> Tensor { entry.restored(try file.read(entry.name)) }
}
