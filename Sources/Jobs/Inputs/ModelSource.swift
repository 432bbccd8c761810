internal import Collectives
internal import Configuration
internal import EmbeddedModel
internal import Exports

/// Finds the folder to read for the model that the user names. Only here is a GGUF file turned into a folder: reading settings,
/// planning and profiling write nothing.
package enum ModelSource {
    /// The folder of a model: the given folder, the `model` in a run's folder, the embedded model for its name or for nil, or
    /// the folder that is made from a GGUF file beside it.
    ///
    /// - Throws: as `GivenPath/model(_:)` and `GGUFImport/folder(of:)`.
    package static func folder(_ path: String?) throws -> String {
        try GGUFImport.folder(of: GivenPath.model(EmbeddedModel.resolve(path)))
    }

    /// The name of such a folder in tables, without reading it, whether or not it exists.
    static func name(_ path: String?) -> String {
        guard let path, path != EmbeddedModel.name else { return EmbeddedModel.path }
        return (try? GivenPath.model(path)) ?? path
    }

    /// The folder for all ranks; the first rank does any import. Collective.
    static func folder(_ path: String?, _ world: some Communicator) throws -> String {
        try world.fromRoot { try folder(path) }
    }
}
