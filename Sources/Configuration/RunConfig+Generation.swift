/// How text is generated.
package struct GenerateSettings: Sendable, Equatable {
    /// The measurement of `--bench`.
    package struct Bench: Sendable, Equatable {
        package var promptTokens: Int
        package var repetitions: Int
    }

    package var maxTokens: Int
    package var temperature: Double
    package var topP: Double
    /// nil: as the folder says.
    package var cacheBits: Int?
    package var bench: Bench

    init(_ key: Settings) {
        maxTokens = key(
            "max_tokens", 128, "tokens made after the prompt, unless one that ends a text comes first", .range(1...1_048_576))
        temperature = key(
            "temperature", 0, "0: the likeliest token; above, tokens are drawn from softmax(logits/temperature)",
            .range(0...100))
        topP = key("top_p", 1, "tokens are drawn from the fewest that together have this probability", .above(0, upTo: 1))
        cacheBits = key.optional(
            "kv_bits", orElse: "model",
            "bits of cached keys and values: 16 in half precision, 8 and 4 with a scale for each head and token; model: as its "
                + "folder says",
            .oneOf([16, 8, 4]))
        let bench = key.section("bench")
        self.bench = Bench(
            promptTokens: bench("prompt_tokens", 384, "--bench: tokens read before the first is made", .range(1...1_048_576)),
            repetitions: bench("repetitions", 3, "--bench: times that prompt and tokens are measured", .range(1...1000)))
    }
}
