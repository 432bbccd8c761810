import HuggingFace
import TestSupport
import Testing

extension CommandLineTests {
    /// Malformed models, tokenizers and data through the program, with one rank and with two: one line, the exit code, nothing
    /// written, nobody left waiting.
    @Suite struct MalformedInput {
        @Test func `the folder that is damaged below is valid`() throws {
            let model = try ModelFolder()
            let outcome = try Program.run(model.arguments(), in: model.path, ranks: 2)
            #expect(outcome.code == 0, "\(outcome.errors)")
            try model.makeSharded()
            let sharded = try Program.run(model.arguments() + ["--overwrite"], in: model.path)
            #expect(sharded.code == 0, "\(sharded.errors)")
        }

        @Test(arguments: MalformedCase.all) func `is refused by one rank`(_ input: MalformedCase) throws {
            try refuse(input, ranks: 0)
        }

        @Test(arguments: MalformedCase.all) func `is refused by two ranks`(_ input: MalformedCase) throws {
            try refuse(input, ranks: 2)
        }

        private func refuse(_ input: MalformedCase, ranks: Int) throws {
            let model = try ModelFolder()
            try input.damage(model)
            try Program.expectRefusal(
                model.arguments(train: input.train) + input.arguments, in: model.path, ranks: ranks, code: input.code,
                fragment: input.fragment)
        }
    }
}

/// One way to damage a valid folder, and the answer it gets.
struct MalformedCase: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let code: Int32
    let fragment: String
    let train: String
    let arguments: [String]
    let damage: @Sendable (ModelFolder) throws -> Void

    init(
        _ name: String, _ fragment: String, code: Int32 = 65, train: String = "data.safetensors", arguments: [String] = [],
        _ damage: @escaping @Sendable (ModelFolder) throws -> Void
    ) {
        testDescription = name
        self.code = code
        self.fragment = fragment
        self.train = train
        self.arguments = arguments
        self.damage = damage
    }

    static let all = safetensors + index + configuration + tokenizer + data + rotations
}
