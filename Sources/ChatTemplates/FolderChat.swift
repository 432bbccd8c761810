internal import Support

/// The chat template of a model's folder, with the special tokens that it may name.
package struct FolderChat {
    /// What somebody says in a conversation.
    package struct Message: Sendable {
        /// `system`, `user` or `assistant`.
        package let role: String
        package let content: String

        package init(role: String, _ content: String) { (self.role, self.content) = (role, content) }
    }

    private let template: ChatTemplate
    private let tokens: JSONObject

    /// Reads `chat_template.jinja` or, without it, `chat_template` of tokenizer_config.json: a template, or the one of several
    /// that is called `default`.
    ///
    /// - Throws: `FileError` where there is none; ``TemplateError``.
    package init(folder: String) throws {
        let settings = try Self.document(folder + "/tokenizer_config.json")
        let (text, place) = try Self.template(folder, settings)
        template = try ChatTemplate(text, place: place)
        let map = try Self.document(folder + "/special_tokens_map.json")
        var tokens = JSONObject()
        for key in ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] {
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

    private static func document(_ path: String) throws(FileError) -> JSONValue {
        PathKind(path) == .absent ? .null : try InputFile.json(path)
    }

    /// No model's template is longer.
    private static let lengthLimit = 1 << 20

    private static func template(_ folder: String, _ settings: JSONValue) throws(FileError) -> (text: String, place: String) {
        let path = folder + "/chat_template.jinja"
        if PathKind(path) != .absent {
            guard let text = String(validating: try InputFile.contents(of: path, limit: lengthLimit), as: UTF8.self) else {
                throw FileError(.malformed, path, "is not UTF-8")
            }
            return (text, path)
        }
        let place = folder + "/tokenizer_config.json: chat_template"
        guard let given = settings["chat_template"], given != .null else {
            throw FileError(
                .malformed, folder,
                "has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); leave --chat out, and "
                    + "give the text as the model expects it")
        }
        let named = given.array?.first { $0["name"]?.string == "default" }?["template"]
        guard let text = given.string ?? named?.string, text.utf8.count <= lengthLimit else {
            throw FileError(.malformed, place, "is no template of at most 1 MiB, and no list with one that is called default")
        }
        return (text, place)
    }
}
