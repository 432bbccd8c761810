import Support
import TestSupport
import Testing

@testable import ChatTemplates

/// Where a model's folder has its template, and the tokens that it names.
@Suite struct FolderChatTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func text(_ messages: [FolderChat.Message] = [.init(role: "user", "hi")]) throws -> String {
        try FolderChat(folder: folder.path).text(messages, now: 0)
    }

    private func settings(_ json: String) throws { try AtomicFile.write(json, to: folder.file("tokenizer_config.json")) }

    @Test func `tokens are named in either way, and those without a name are nothing`() throws {
        try settings(
            #"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "unk_token": null, "#
                + #""chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ unk_token }}"#
                + #"{{ tools is none }}{{ add_generation_prompt }}"}"#
        )
        #expect(try text() == "<s>hi</s>TrueTrue")
    }

    @Test func `a map of special tokens holds tokens, and lists of others`() throws {
        try settings(#"{"chat_template": "{{ bos_token }}{{ eos_token }}"}"#)
        func map(_ json: String) throws { try AtomicFile.write(json, to: folder.file("special_tokens_map.json")) }
        try map(
            #"{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": null, "additional_special_tokens": ["a"]}"#)
        #expect(try text() == "<s></s>")
        for (json, fragment) in [
            ("[]", "special_tokens_map.json: is not a JSON object"), (#"{"bos_token": 1}"#, "map.json: bos_token: is neither"),
            (#"{"bos_token": ["<s>"]}"#, "map.json: bos_token: is neither"),
            (#"{"eos_token": {"id": 1}}"#, "map.json: eos_token: is neither"),
        ] {
            try map(json)
            #expect { try text() } throws: { ($0 as? FileError)?.exitCode == .data && "\($0)".contains(fragment) }
        }
    }

    @Test func `a file of its own counts before the key, and of several the one called default`() throws {
        try settings(#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}"#)
        #expect(try text() == "d")
        try AtomicFile.write("{{ messages|length }}", to: folder.file("chat_template.jinja"))
        #expect(try text([.init(role: "system", "s"), .init(role: "user", "u")]) == "2")
    }

    @Test(
        arguments: [
            (nil, nil, "has no chat template"), ("{}", nil, "has no chat template"),
            (#"{"chat_template": null}"#, nil, "has no chat template"),
            (#"{"chat_template": 3}"#, nil, "is neither a template"),
            (#"{"chat_template": [{"name": "rag", "template": "r"}]}"#, nil, "named default"),
            (#"{"chat_template": "{{"}"#, nil, "tokenizer_config.json: chat_template, line 1"),
            (nil, "a\n{% x %}", "chat_template.jinja, line 2: the statement 'x' is not supported; leave --chat out"),
        ] as [(String?, String?, String)]) func `a folder without one, or with one that is none, is refused with the place`(
            _ json: String?, _ file: String?, _ fragment: String
        ) throws
    {
        if let json { try settings(json) }
        if let file { try AtomicFile.write(file, to: folder.file("chat_template.jinja")) }
        do {
            _ = try text()
            Issue.record("it rendered")
        } catch let error as any ReportableError {
            #expect(error.exitCode == .data && error.description.contains(fragment), "\(error)")
        }
    }
}
