internal import Support

/// The chat template of a model's folder, with the special tokens that it may name.
package struct FolderChat {
    /// A message of a conversation.
    package struct Message: Sendable {
        /// `system`, `user` or `assistant`.
        package let role: String
        package let content: String

        package init(role: String, _ content: String) { (self.role, self.content) = (role, content) }
    }

    private let template: ChatTemplate
    private let tokens: JSONObject

    /// Reads the template, see ``TemplateSource``, and the special tokens.
    ///
    /// - Throws: `FileError` where there is no template; ``TemplateError``.
    package init(folder: String) throws {
        let settings = try Self.document(folder + "/tokenizer_config.json")
        let source = try Self.template(folder, settings)
        template = try ChatTemplate(source.text, place: source.place)
        let map = try Self.tokens(folder + "/special_tokens_map.json")
        var tokens = JSONObject()
        for key in Self.tokenKeys {
            let name = [settings[key], map[key]].lazy.compactMap { $0?.string ?? $0?["content"]?.string }.first
            if let name { tokens[key] = .string(name) }
        }
        self.tokens = tokens
    }

    /// The conversation's text up to where the answer begins.
    ///
    /// - Parameter now: in seconds since 1970, for templates that tell the date.
    /// - Throws: ``TemplateError``.
    package func text(_ messages: [Message], now: Int) throws(TemplateError) -> String {
        var variables = tokens
        variables["messages"] = .array(messages.map { ["role": .string($0.role), "content": .string($0.content)] })
        variables["tools"] = .null
        variables["documents"] = .null
        variables["add_generation_prompt"] = true
        return try template.render(variables, now: now)
    }

    private static let tokenKeys = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    /// A special_tokens_map.json: tokens by name or as objects with their content. Other keys are not read.
    private static func tokens(_ path: String) throws(FileError) -> JSONValue {
        let map = try document(path)
        guard map == .null || map.object != nil else { throw FileError(.malformed, path, "is not a JSON object") }
        for key in tokenKeys {
            guard let value = map[key] else { continue }
            guard value == .null || value.string != nil || value["content"]?.string != nil else {
                throw FileError(.malformed, "\(path): \(key)", "is neither a token nor an object with its content")
            }
        }
        return map
    }

    private static func document(_ path: String) throws(FileError) -> JSONValue {
        PathKind(path) == .absent ? .null : try InputFile.json(path)
    }

    private static func template(_ folder: String, _ settings: JSONValue) throws(FileError) -> TemplateSource {
        let source = try TemplateSource(folder: folder, settings: settings)
        guard source != nil || TemplateSource.isGiven(in: settings) else {
            throw FileError(
                .malformed, folder,
                "has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); leave --chat out, and "
                    + "give the text as the model expects it")
        }
        guard let source, source.text.utf8.count <= TemplateSource.lengthLimit else {
            throw FileError(
                .malformed, TemplateSource.settingsPlace(folder),
                "is neither a template of at most 1 MiB nor a list with a template named default; correct it, or leave "
                    + "--chat out"
            )
        }
        return source
    }
}
