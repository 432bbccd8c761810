import Configuration
import EmbeddedModel
import Foundation
import Parallelism
import Support
import TestSupport
import Testing

@testable import Jobs

@Suite struct BeginTokenTests {
    @Test func `a token that begins texts and is none of the model's is refused`() throws {
        let folder = try TemporaryFolder()
        let (model, text) = (folder.file("model"), folder.file("a.txt"))
        try AtomicFile.write(String(repeating: "The river flows to the north. ", count: 40), to: text)
        try FileManager.default.copyItem(atPath: EmbeddedModel.path, toPath: model)
        func inputs() throws {
            let config = try SettingsRequest(
                assignments: ["data.bos=sequence", "data.sequence_length=48", "data.eval.path=\(text)"]
            ).configuration(job: "eval")
            _ = try LanguageModelInputs(model, config, .alone, job: "eval", needsTraining: false)
        }
        try inputs()
        // The model has rows for 2048 tokens.
        let file = try InputFile.json(model + "/tokenizer.json", limit: 1 << 24).text(.compact, sortedKeys: false)
        try AtomicFile.write(
            file.replacing(#""added_tokens":["#, with: #""added_tokens":[{"id":2048,"content":"<x>","special":true},"#),
            to: model + "/tokenizer.json")
        try AtomicFile.write(#"{"bos_token": "<x>"}"#, to: model + "/tokenizer_config.json")
        #expect {
            try inputs()
        } throws: { error in
            (error as? any ReportableError)?.exitCode == .data
                && "\(error)".hasPrefix("\(model): the tokenizer's token that begins a text, 2048, is outside")
        }
    }
}
