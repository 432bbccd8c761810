import Support
import TestSupport
import Testing

@testable import Jobs

/// What generation_config.json asks for and `generate` does not follow.
@Suite struct GenerationRulesTests {
    @Test(arguments: [
        (#"{"repetition_penalty": 1.3, "suppress_tokens": [1], "min_length": 0}"#, ["repetition_penalty", "suppress_tokens"]),
        (#"{"repetition_penalty": 1, "bad_words_ids": null, "suppress_tokens": [], "do_sample": true}"#, []),
        (#"{"forced_eos_token_id": 0, "no_repeat_ngram_size": 3}"#, ["no_repeat_ngram_size", "forced_eos_token_id"]),
    ])
    func `rules that change a text are named, and those that stand for none are not`(_ json: String, _ keys: [String]) throws {
        let folder = try TemporaryFolder()
        #expect(try GenerationRules.keys(ofFolder: folder.path).isEmpty)
        try AtomicFile.write(json, to: folder.file("generation_config.json"))
        #expect(try GenerationRules.keys(ofFolder: folder.path) == keys)
    }
}
