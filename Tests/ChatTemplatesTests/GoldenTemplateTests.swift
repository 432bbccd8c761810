import Support
import TestSupport
import Testing

@testable import ChatTemplates

/// Texts that transformers makes of conversations; see `Tests/Golden/chat/make_chat.py`.
@Suite struct GoldenTemplateTests {
    private static let document = try? InputFile.json(GoldenSuite.testsFolder + "/Golden/chat/chat.json")
    private static let names = document?["templates"]?.object?.keys ?? []

    @Test func `there are templates of all kinds`() {
        #expect(Self.names.count >= 15)
        #expect((Self.document?["cases"]?.array?.count ?? 0) >= 200)
    }

    @Test(arguments: names) func `conversations are transformers' to the last byte, and what it refuses is refused`(
        _ name: String
    ) throws {
        let source = try #require(Self.document?["templates"]?[name]?.string)
        let template = try ChatTemplate(source, place: name)
        let items = try #require(Self.document?["cases"]?.array).filter { $0["template"]?.string == name }
        #expect(!items.isEmpty)
        for item in items {
            let variables = try #require(item["variables"]?.object)
            let comment = Comment(rawValue: "\(name), conversation \(item["conversation"]?.integer ?? -1)")
            if let expected = item["expected"]?.string {
                #expect(try template.render(variables, now: 0).utf8.elementsEqual(expected.utf8), comment)
            } else {
                #expect(throws: TemplateError.self, comment) { try template.render(variables, now: 0) }
            }
        }
    }

    /// Whatever becomes of a template, it ends soon, with a text or an error.
    @Test func `damaged templates neither trap nor hang`() throws {
        let folder = try TemporaryFolder()
        for (seed, name) in Self.names.enumerated() {
            let source = try #require(Self.document?["templates"]?[name]?.string)
            let item = Self.document?["cases"]?.array?.first { $0["template"]?.string == name && $0["expected"]?.string != nil }
            let variables = try #require(item?["variables"]?.object)
            let mutations = Mutations(seed: UInt64(900 + seed), count: 200)
            let refused = try mutations.refusals(of: Array(source.utf8), at: folder.file("template")) { path in
                let bytes = try InputFile.contents(of: path, limit: 1 << 20)
                guard let text = String(validating: bytes, as: UTF8.self) else { return }
                do {
                    _ = try ChatTemplate(text, place: path).render(variables, now: 0)
                } catch let error as TemplateError {
                    #expect(error.line >= 1 && error.line <= text.utf8.count + 1)
                    throw FileError(.malformed, path, error.problem)
                }
            }
            #expect(refused > mutations.count / 20)
        }
    }
}
