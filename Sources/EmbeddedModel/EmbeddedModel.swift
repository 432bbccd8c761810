internal import Foundation
internal import Support

/// The small model that ships with the program, so that the first command needs no model.
package enum EmbeddedModel {
    /// What it is called in settings and arguments.
    package static let name = "embedded"

    /// Beside the program's file, whatever links lead to it; `Bundle.module` would end the program where it is not there.
    private static var resources: String { Bundle.main.bundlePath + "/sq-train_EmbeddedModel.resources" }

    /// Its folder, which is there where `resources` was copied along with the program.
    package static var path: String { resources + "/wiki-llama-4m" }

    /// A folder, or the embedded model where it is called by its name, or none is named.
    ///
    /// - Throws: `FileError` where the program is without the embedded model.
    package static func resolve(_ folder: String?) throws -> String {
        if let folder, folder != name { return folder }
        guard PathKind(path, followsLinks: true) == .folder else {
            throw FileError(
                .missing, resources,
                "is not there, and holds the embedded model: copy this folder beside the program from where it was built, or "
                    + "name another model (model.path)")
        }
        return path
    }
}
