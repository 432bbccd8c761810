import Testing

@testable import Configuration

@Suite struct LayerPatternTests {
    @Test(arguments: [
        ("*", "model.layers.0.mlp.up_proj", true), ("*.mlp.*", "model.layers.0.mlp.up_proj", true),
        ("*.mlp.*", "model.layers.0.self_attn.q_proj", false), ("model.layers.0.*", "model.layers.10.mlp.up_proj", false),
        ("*.q_proj, *.k_proj", "model.layers.0.self_attn.k_proj", true), ("*up*proj*", "model.layers.0.mlp.up_proj", true),
        ("up_proj", "model.layers.0.mlp.up_proj", false), ("*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
    ])
    func `a star stands for any characters and a comma separates patterns`(pattern: String, name: String, matches: Bool) throws
    {
        let pattern = try #require(LayerPattern(settingText: pattern))
        #expect(pattern.matches(name) == matches)
    }

    @Test func `a pattern survives the configuration's YAML`() throws {
        let config = try RunConfig(assignments: ["ternary.layers=*.mlp.*, *.q_proj"])
        #expect(try RunConfig(yaml: config.yaml).ternary.layers == config.ternary.layers)
        #expect(try RunConfig(yaml: RunConfig().yaml).ternary.layers == .all)
    }

    /// YAML 1.1 would read it as 124.
    @Test func `2 to 4 survives the configuration's YAML`() throws {
        let config = try RunConfig(assignments: ["ternary.sparsity=2:4"])
        #expect(config.ternary.sparsity.settingText == "2:4")
        #expect(try RunConfig(yaml: config.yaml).ternary.sparsity.settingText == "2:4")
        #expect(try RunConfig(yaml: "ternary:\n  sparsity: 2:4\n").ternary.sparsity.settingText == "2:4")
    }
}
