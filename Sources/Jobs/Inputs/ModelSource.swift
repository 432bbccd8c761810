internal import Collectives
internal import Configuration
internal import EmbeddedModel
internal import Exports

/// From what a user calls a model to the folder that is read. Here alone a GGUF file becomes a folder: reading settings,
/// planning and profiling write nothing.
package enum ModelSource {
    /// The folder of a model: one as it is given, the `model` in a run's folder, the embedded model for its name or for nil, or
    /// what is made of a GGUF file beside it.
    ///
    /// - Throws: as `GivenPath/model(_:)` and `GGUFImport/folder(of:)`.
    package static func folder(_ path: String?) throws -> String {
        try GGUFImport.folder(of: GivenPath.model(EmbeddedModel.resolve(path ?? EmbeddedModel.name)))
    }

    /// The name of such a folder in tables, without a look into it, whether or not it is to be found.
    static func name(_ path: String?) -> String {
        let given = EmbeddedModel.resolve(path ?? EmbeddedModel.name)
        return (try? GivenPath.model(given)) ?? given
    }

    /// The folder for all ranks, of which the first does what is to be done. Collective.
    static func folder(_ path: String?, _ world: some Communicator) throws -> String {
        try world.fromRoot { try folder(path) }
    }
}
