internal import Foundation

/// The small model that ships with the program, so that the first command needs no model.
package enum EmbeddedModel {
    /// What it is called in settings and arguments.
    package static let name = "embedded"

    /// Beside the program's file, whatever links lead to it. Where that folder was not copied along, reading the model fails;
    /// `Bundle.module` would end the program.
    package static var path: String { Bundle.main.bundlePath + "/sq-train_EmbeddedModel.resources/wiki-llama-4m" }

    /// A folder, or the embedded model where it is called by its name.
    package static func resolve(_ folder: String) -> String { folder == name ? path : folder }
}
