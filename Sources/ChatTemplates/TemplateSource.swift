package import Support

/// The text of a model folder's chat template, and where the folder has it.
package struct TemplateSource: Equatable {
    package let text: String
    /// The file, and the key in it.
    package let place: String

    /// Limit of the text's length in bytes; no model's template is longer.
    static let lengthLimit = 1 << 20

    /// Reads `chat_template.jinja` or, without it, `chat_template` of tokenizer_config.json: a template, or the one named
    /// `default` in a list of several.
    ///
    /// - Parameter settings: the content of tokenizer_config.json.
    /// - Returns: nil where the folder has neither, or the key holds neither a text nor a list with a template named `default`.
    /// - Throws: `FileError` where `chat_template.jinja` cannot be read or is not UTF-8.
    package init?(folder: String, settings: JSONValue) throws(FileError) {
        let path = folder + "/chat_template.jinja"
        if PathKind(path) != .absent {
            guard let text = String(validating: try InputFile.contents(of: path, limit: Self.lengthLimit), as: UTF8.self) else {
                throw FileError(.malformed, path, "is not UTF-8 text")
            }
            (self.text, place) = (text, path)
            return
        }
        let given = settings["chat_template"]
        let named = given?.array?.first { $0["name"]?.string == "default" }?["template"]
        guard let text = given?.string ?? named?.string else { return nil }
        (self.text, place) = (text, Self.settingsPlace(folder))
    }

    /// Where tokenizer_config.json has the template.
    static func settingsPlace(_ folder: String) -> String { folder + "/tokenizer_config.json: chat_template" }

    /// Whether tokenizer_config.json has the key, with any value but null.
    package static func isGiven(in settings: JSONValue) -> Bool {
        settings["chat_template"].map { $0 != .null } ?? false
    }
}
