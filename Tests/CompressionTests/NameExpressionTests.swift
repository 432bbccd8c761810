import HuggingFace
import Support
import TestSupport
import Testing

@testable import Compression

/// Names of layers as compressed-tensors' `targets` and `ignore` say them.
@Suite struct NameExpressionTests {
    /// Made by Tests/Data/name_expressions.py, which asked Python's re.match.
    private let expected: JSONValue

    init() throws { expected = try InputFile.json(GoldenSuite.testsFolder + "/Data/name_expressions.json") }

    private func texts(_ key: String) throws -> [String] { try #require(expected[key]?.array).compactMap(\.string) }

    @Test func `an expression matches the names that it matches in Python`() throws {
        let (names, matches) = (try texts("names"), try #require(expected["matches"]?.object))
        #expect(names.count * matches.count > 2000)
        for (text, matching) in matches.members {
            let matching = Set(try #require(matching.array).compactMap(\.string))
            let expression = try NameExpression(text)
            for name in names { #expect(expression.matches(name) == matching.contains(name), "\(text) and '\(name)'") }
        }
    }

    @Test func `what Python refuses is refused`() throws {
        for text in try texts("malformed") {
            #expect(throws: NameExpression.Refusal.self, "\(text)") { try NameExpression(text) }
        }
    }

    @Test func `what is no regular language, or too large, is refused by its name`() throws {
        for (text, name) in try #require(expected["outside"]?.object).members {
            let refusal = #expect(throws: NameExpression.Refusal.self, "\(text)") { try NameExpression(text) }
            #expect(try refusal?.problem.contains(#require(name.string)) == true, "\(text): \(refusal?.problem ?? "")")
        }
    }

    @Test(arguments: [
        ("a(?=b)", 2, "a look ahead, which is not supported"), ("ab)", 3, "a ) without a ("), ("ab(c", 3, "a ( without a )"),
        ("x[abc", 2, "a [ without a ]"), ("a|*", 3, "nothing to repeat"), (#"ab\1"#, 3, "a reference"),
        ("[b-a]", 2, "a range"), ("a**", 3, "a count after a count"), ("a{4096}", 2, "the expression needs more than 4096"),
        (#"abc\"#, 4, #"a \ at"#),
    ]) func `a refusal says where`(_ text: String, _ position: Int, _ problem: String) {
        let refusal = #expect(throws: NameExpression.Refusal.self) { try NameExpression(text) }
        #expect(refusal?.position == position && refusal?.problem.hasPrefix(problem) == true, "\(String(describing: refusal))")
    }

    /// Of these a program that tries one way after the other takes 2^200 steps, or makes 60^6 states.
    @Test func `no expression takes long, whatever a file has`() throws {
        let (name, start) = (String(repeating: "a", count: 200), ContinuousClock.now)
        for text in ["(a+)+$", "(a|a)*b", "(a*)*b", "(.*)(.*)(.*)(.*)(.*)x", "(.?){1000}b", "(((a{2,9}){2,9}){2,9})*b"] {
            #expect(try NameExpression(text).matches(name) == text.hasSuffix("+$"), "\(text)")
        }
        let nested = (0..<6).reduce("a") { text, _ in "(\(text){60})" }
        #expect(throws: NameExpression.Refusal.self) { try NameExpression(nested) }
        let deep = String(repeating: "(", count: 100_000)
        #expect(throws: NameExpression.Refusal.self) { try NameExpression(deep) }
        #expect(throws: NameExpression.Refusal.self) { try NameExpression(String(repeating: "()", count: 100_000)) }
        // Some hundredths of a second.
        #expect(.now - start < .seconds(10))
    }

    @Test func `a layer's own name, a class and an expression are told apart`() throws {
        let name = "model.layers.10.mlp.down_proj"
        for text in [name, "Linear", "re:.*down_proj$", "re:.*layers.1.*down"] {
            #expect(try LayerTarget(text).matches(name, .linear), "\(text)")
        }
        for text in ["down_proj", "re:down_proj", "Embedding", "LlamaMLP", "", "re"] {
            #expect(try !LayerTarget(text).matches(name, .linear), "\(text)")
        }
        #expect(try LayerTarget("Embedding").matches("model.embed_tokens", .embedding))
        for text in ["Linear", "Embedding", ""] { #expect(try !LayerTarget(text).matches("model.norm", .other), "\(text)") }
    }

    @Test func `a key's expressions are refused with the character, and where there are too many`() throws {
        func list(_ targets: [JSONValue]) throws {
            var budget = LayerTarget.budget
            var keys = JSONObject()
            keys["targets"] = .array(targets)
            _ = try LayerTarget.list(HFConfig(keys, path: "config.json"), "targets", &budget)
        }
        let error = #expect(throws: FileError.self) { try list(["Linear", "re:.*(?!lm_head)"]) }
        #expect(error?.description.contains("targets: '") == true, "\(error?.description ?? "")")
        #expect(error?.description.contains("character 6: a look ahead") == true, "\(error?.description ?? "")")
        try list((0..<8).map { _ in "re:.{4000}" })
        let many = #expect(throws: FileError.self) { try list((0..<9).map { _ in "re:.{4000}" }) }
        #expect(many?.description.contains("more than 32768 names and states of regular expressions") == true)
        try list(Array(repeating: "m", count: LayerTarget.budget))
        #expect(throws: FileError.self) { try list(Array(repeating: "m", count: LayerTarget.budget + 1)) }
    }
}
