package import Support

/// A model's chat template: a program in Jinja that makes the text of a conversation, as transformers' `apply_chat_template`
/// does.
///
/// It knows the part of the language that models' templates use, with Python's rules for values. Anything else is refused with
/// its line, and never rendered in another way. A template that is made to run for long, or to fill the memory, is stopped.
package struct ChatTemplate {
    private let body: TemplateBody
    private let place: String

    /// - Parameters:
    ///   - text: in Jinja 3.1.
    ///   - place: what errors call it: the file, and the key in it.
    /// - Throws: ``TemplateError`` for what is not Jinja, or not supported.
    package init(_ text: String, place: String) throws(TemplateError) {
        self.place = place
        do throws(TemplateFault) {
            body = try TemplateParser.body(of: text)
        } catch {
            throw TemplateError(place, error)
        }
    }

    /// The text that the template makes.
    ///
    /// - Parameters:
    ///   - variables: by name, such as `messages`, `bos_token` and `add_generation_prompt`; others are undefined.
    ///   - now: for `strftime_now`, in seconds since 1970.
    /// - Throws: ``TemplateError`` for what the template refuses, or cannot render.
    package func render(_ variables: JSONObject, now: Int) throws(TemplateError) -> String {
        let scope = TemplateScope()
        for (name, value) in variables.members { scope[name] = TemplateValue(value) }
        do throws(TemplateFault) {
            return String(decoding: try TemplateRenderer(now: now).render(body, scope), as: UTF8.self)
        } catch {
            throw TemplateError(place, error)
        }
    }
}
