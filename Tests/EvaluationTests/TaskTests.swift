import Collectives
import EmbeddedModel
import Foundation
import HuggingFace
import LinearAlgebra
import Models
import Parallelism
import Support
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// Tasks: from a file's line to lm-eval's numbers. What the texts should be comes from lm-eval 0.4.13's own task files.
@Suite struct TaskTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func items(_ name: String, _ lines: String) throws -> [TaskItem] {
        try AtomicFile.write(lines, to: folder.file("file.jsonl"))
        let task = try #require(EvaluationTasks.named(name))
        return try TaskFile(task, folder.file("file.jsonl"), label: name).items
    }

    @Test func `damaged lines are items or refused`() throws {
        let lines = [
            (
                "hellaswag",
                #"{"activity_label": "A", "ctx_a": "[header] b [title] c", "ctx_b": "éd", "endings": ["e", "f"], "label": "1"}"#
            ),
            ("piqa", #"{"goal": "Open it", "sol1": "Push", "sol2": "Pull now", "label": 1}"#),
            ("arc", #"{"question": "Why?", "choices": {"text": ["so", "as"], "label": ["1", "2"]}, "answerKey": "2"}"#),
            ("winogrande", #"{"sentence": "Ann met Eve and _ smiled. ", "option1": "Ann", "option2": "Eve", "answer": "1"}"#),
            ("boolq", #"{"passage": "Water is wet.", "question": "is it", "label": 1}"#),
            ("lambada", #"{"text": "one two\u00e9 three"}"#), ("text", #"{"text": "one  two\n three"}"#),
        ]
        for (name, line) in lines {
            let (task, mutations) = (try #require(EvaluationTasks.named(name)), Mutations(seed: 86, among: lines.count))
            let refused = try mutations.refusals(of: Array("\(line)\n\(line)\n".utf8), at: folder.file("mutant")) { path in
                _ = try TaskFile(task, path, label: name)
            }
            #expect(refused > mutations.count / 8, "\(name)")
        }
    }

    @Test func `each task makes lm-eval's texts of a line`() throws {
        let hellaswag = try items(
            "hellaswag",
            #"{"activity_label": "Baking", "ctx_a": " [header] How to bake [title] Mix  it.", "ctx_b": "the COOK éclair", "#
                + #""endings": ["[step] Stirs.", "a [x\n] b", " éé"], "label": "2"}"#)
        let context = "Baking:  How to bake. Mix it. The cook éclair"
        #expect(
            hellaswag == [
                .choices(
                    pairs: [" Stirs.", "a [x\n] b", "éé"].map { TextPair(context, " " + $0) }, lengths: [7, 8, 2], right: 2)
            ])
        let piqa = try items("piqa", #"{"goal": "Open it", "sol1": "Push", "sol2": "Pull now", "label": 1}"#)
        #expect(
            piqa == [
                .choices(
                    pairs: ["Push", "Pull now"].map { TextPair("Question: Open it\nAnswer:", " " + $0) }, lengths: [4, 8],
                    right: 1)
            ])
        let arc = try items(
            "arc",
            #"{"id": "x", "question": "Why?", "choices": {"text": ["so", "as it"], "label": ["1", "2"]}, "answerKey": "2"}"#)
        #expect(
            arc == [
                .choices(
                    pairs: ["so", "as it"].map { TextPair("Question: Why?\nAnswer:", " " + $0) }, lengths: [2, 5], right: 1)
            ])
        let winogrande = try items(
            "winogrande", #"{"sentence": "Ann met Eve and _ smiled. ", "option1": "Ann", "option2": "Eve", "answer": "1"}"#)
        #expect(
            winogrande == [
                .choices(
                    pairs: ["Ann met Eve and Ann", "Ann met Eve and Eve"].map { TextPair($0, " smiled.") }, lengths: [19, 19],
                    right: 0)
            ])
        let boolq = try items(
            "boolq",
            #"{"passage": "It is.", "question": "is it", "label": 1}"# + "\n\n"
                + #"{"passage": "It is.", "question": "is it", "answer": false}"#)
        let pairs = ["no", "yes"].map { TextPair("It is.\nQuestion: is it?\nAnswer:", " " + $0) }
        #expect(boolq == [1, 0].map { .choices(pairs: pairs, lengths: [2, 3], right: $0) })
        #expect(try items("lambada", #"{"text": "one  two\nthree four"}"#) == [.cloze(TextPair("one  two\nthree", " four"))])
        #expect(try items("text", #"{"text": " a\nb "}"#) == [.text(" a\nb ")])
    }

    @Test(arguments: [
        ("piqa", "{", "file.jsonl:1"), ("piqa", "[1]", "not a JSON object"), ("piqa", "", "is empty"),
        ("piqa", #"{"goal": "a", "sol1": "b", "label": 0}"#, "file.jsonl:1: sol2: is missing"),
        ("piqa", "\n" + #"{"goal": 3, "sol1": "b", "sol2": "c", "label": 0}"#, "file.jsonl:2: goal: is not a text"),
        ("piqa", #"{"goal": "a", "sol1": "b", "sol2": "c", "label": 2}"#, "label: is not a number from 0 to 1"),
        ("piqa", #"{"goal": "a", "sol1": "b", "sol2": "c", "label": "-1"}"#, "label: is not a number from 0 to 1"),
        ("winogrande", #"{"sentence": "no gap", "option1": "b", "option2": "c", "answer": "1"}"#, "sentence: has no _"),
        (
            "winogrande", #"{"sentence": "a _ b", "option1": "b", "option2": "c", "answer": "0"}"#,
            "answer: is not a number from 1 to 2"
        ),
        ("arc", #"{"question": "a", "choices": ["b"], "answerKey": "A"}"#, "choices.text: is not a list"),
        (
            "arc", #"{"question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answerKey": "C"}"#,
            "answerKey: is not one of"
        ),
        ("arc", #"{"question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B", "C"]}, "answerKey": "C"}"#, "2 texts"),
        ("hellaswag", #"{"activity_label": "a", "ctx_a": "b", "ctx_b": "c", "endings": [1, 2], "label": 0}"#, "endings"),
        ("lambada", #"{"text": "word"}"#, "must have at least two words"),
        ("lambada", #"{"text": "a word "}"#, "must have at least two words"),
        ("text", #"{"text": ""}"#, "is empty"),
    ]) func `a line that is no item is refused with its place`(_ task: String, _ lines: String, _ fragment: String) throws {
        do {
            _ = try items(task, lines)
            Issue.record("accepted")
        } catch {
            #expect("\(error)".contains(fragment), "\(error)")
        }
    }

    @Test func `a byte-order mark is no part of the first line`() throws {
        #expect(try items("text", "\u{FEFF}" + #"{"text": "a"}"#) == [.text("a")])
    }

    /// Python's `str.capitalize`, which lm-eval calls.
    @Test(arguments: [
        ("ΟΔΟΣ", "Οδος"), ("ΑΣ ΒΣ", "Ας βς"), ("Σ", "Σ"), ("ΑΣ'Β", "Ασ'β"), ("ΑΣΒ", "Ασβ"), ("A.Σ", "A.ς"), ("1Σ", "1σ"),
        ("ΑΣ.", "Ας."), ("ßa", "Ssa"), ("İΣ", "İς"), ("she RAN", "She ran"), ("", ""),
    ]) func `a text begins large and goes on small`(_ text: String, _ expected: String) {
        #expect(HellaSwag.capitalized(text) == expected)
    }

    // MARK: - Tokens

    private func maker(length: Int) throws -> (maker: RequestMaker, tokenizer: Tokenizer) {
        let tokenizer = try Tokenizer(folder: EmbeddedModel.path)
        return (try RequestMaker(tokenizer, vocabulary: 2048, length: length, folder: EmbeddedModel.path), tokenizer)
    }

    @Test func `a pair is encoded as one text, cut where the context ends without its blanks`() throws {
        var (maker, tokenizer) = try maker(length: 200)
        func tokens(_ text: String) -> [Int32] { tokenizer.encode(text, addSpecialTokens: true) }
        let plain = try maker.requests(.cloze(TextPair("The city of", " Rome")), place: "")
        let whole = tokens("The city of Rome")
        #expect(
            plain == [LikelihoodRequest(tokens: whole.dropLast(), targets: Array(whole.dropFirst(tokens("The city of").count)))]
        )
        // Blanks belong to what follows.
        #expect(try maker.requests(.cloze(TextPair("The city of ", "Rome")), place: "") == plain)
        let begin = try #require(tokenizer.bosToken)
        let alone = try maker.requests(.cloze(TextPair("", " Rome")), place: "")
        let rome = tokenizer.encode(" Rome", addSpecialTokens: false)
        #expect(alone == [LikelihoodRequest(tokens: [begin] + rome.dropLast(), targets: rome)])
        #expect(throws: FileError.self) { try maker.requests(.cloze(TextPair("The city", "")), place: "file: item 1") }
        #expect(maker.truncated == 0)
    }

    @Test func `a token to begin texts with that the model does not have is refused`() throws {
        let tokenizer = try Tokenizer(folder: EmbeddedModel.path)
        let begin = Int(try #require(tokenizer.bosToken))
        _ = try RequestMaker(tokenizer, vocabulary: begin + 1, length: 8, folder: "m")
        let error = #expect(throws: FileError.self) {
            try RequestMaker(tokenizer, vocabulary: begin, length: 8, folder: "m")
        }
        #expect(error?.description.hasPrefix("m/tokenizer_config.json: has token \(begin), but") == true)
    }

    @Test func `a context that is too long loses its beginning, and is counted`() throws {
        var (maker, tokenizer) = try maker(length: 10)
        let context = (0..<20).map { "word \($0)" }.joined(separator: " ")
        let request = try maker.requests(.cloze(TextPair(context, " Rome")), place: "")[0]
        let whole = tokenizer.encode(context + " Rome", addSpecialTokens: true)
        #expect(request.tokens == whole.suffix(11).dropLast() && maker.truncated == 1)
        let long = TextPair("a", " " + context)
        #expect(throws: FileError.self) { try maker.requests(.cloze(long), place: "file: item 1") }
    }

    @Test(arguments: [1, 7, 8, 9, 16, 17, 40])
    func `windows of a text foretell each token once, after as many as there is room for`(
        length: Int
    ) throws {
        var (maker, tokenizer) = try maker(length: 8)
        let words = (0..<60).map { "the \($0)" }.joined(separator: " ")
        let all = tokenizer.encode(words, addSpecialTokens: true)
        // A prefix of the text with this many tokens, or a few more.
        let text = try #require(
            (1...words.count).lazy.map { String(words.prefix($0)) }.first {
                tokenizer.encode($0, addSpecialTokens: true).count >= length
            })
        let tokens = tokenizer.encode(text, addSpecialTokens: true)
        let requests = try maker.requests(.text(text), place: "")
        #expect(requests.flatMap(\.targets) == tokens && all.count > length)
        let begin = try #require(tokenizer.bosToken)
        var done = 0
        for request in requests {
            done += request.targets.count
            #expect(request.tokens == ([begin] + tokens).prefix(done).suffix(done <= 8 ? done : 8))
        }
    }

    // MARK: - Numbers

    @Test func `likelihoods are those of the logits`() throws {
        let model = try ModelFolder(EmbeddedModel.path)
        let parameters = try model.parameters()
        var (maker, _) = try maker(length: 64)
        let items: [TaskItem] = [
            .cloze(TextPair("The history of the", " city")), .cloze(TextPair("In the", " first")),
            .text("A river in the north."),
        ]
        let requests = try items.flatMap { try maker.requests($0, place: "") }
        let network = model.description.model(positions: 64).constantNetwork(parameters)
        let found = try likelihoods(requests, of: network, ParallelGroups.dataParallel(LoopbackCommunicator()))
        for (request, likelihood) in zip(requests, found) {
            let logits = model.description.model(positions: 64).logits(request.tokens, parameters)
            var (sum, isGreedy) = (0.0, true)
            for (place, target) in request.targets.enumerated() {
                let row = (0..<logits.columns).map { Double(logits[logits.rows - request.targets.count + place, $0]) }
                let top = row.max() ?? 0
                sum += row[Int(target)] - top - log(row.reduce(0) { $0 + exp($1 - top) })
                isGreedy = isGreedy && row.firstIndex(of: top) == Int(target)
            }
            #expect(abs(likelihood.logarithm - sum) < 1e-4 && likelihood.isGreedy == isGreedy)
        }
    }

    /// By hand: of three items two right, and one of them by characters alone.
    @Test func `accuracies, perplexities and errors are lm-eval's`() throws {
        func likelihood(_ value: Double, _ isGreedy: Bool = false) -> Likelihood {
            Likelihood(logarithm: value, isGreedy: isGreedy)
        }
        try AtomicFile.write(
            (0..<3).map { #"{"goal": "g", "sol1": "ab", "sol2": "abcdefgh", "label": \#($0 == 0 ? 0 : 1)}"# }.joined(
                separator: "\n"),
            to: folder.file("p.jsonl"))
        let file = try TaskFile(PIQA.self, folder.file("p.jsonl"), label: "piqa")
        let values = [-1, -2, -3, -4, -5, -5] as [Double]
        let result = TaskResult(file, values.map { likelihood($0) }, counts: [2, 2, 2])
        // Ties go to the first.
        let third = (1.0 / 3 * 2.0 / 3 / 2).squareRoot()
        #expect(result.metrics.map(\.name) == ["acc", "acc_norm"])
        #expect(abs(result.metrics[0].value - 1.0 / 3) < 1e-12 && abs(result.metrics[1].value - 2.0 / 3) < 1e-12)
        #expect(result.metrics.allSatisfy { abs(($0.error ?? 0) - third) < 1e-12 })

        try AtomicFile.write(#"{"text": "a b\#u{A0} c"}"# + "\n" + #"{"text": "é d"}"#, to: folder.file("t.jsonl"))
        let text = try TaskFile(PlainText.self, folder.file("t.jsonl"), label: "text")
        let scores = TaskResult(text, [-4, -6, -5].map { likelihood($0) }, counts: [2, 1]).metrics
        #expect(scores.map(\.name) == ["word_perplexity", "byte_perplexity", "bits_per_byte"])
        // Three words and two; seven bytes and four.
        for (metric, expected) in zip(scores, [exp(15.0 / 5), exp(15.0 / 11), 15.0 / 11 / log(2)]) {
            #expect(abs(metric.value / expected - 1) < 1e-12 && metric.error == nil)
        }

        try AtomicFile.write(#"{"text": "a b"}"# + "\n" + #"{"text": "c d"}"#, to: folder.file("l.jsonl"))
        let lambada = try TaskFile(LAMBADA.self, folder.file("l.jsonl"), label: "lambada")
        let cloze = TaskResult(lambada, [likelihood(-1, true), likelihood(-3)], counts: [1, 1]).metrics
        #expect(abs(cloze[0].value - exp(2)) < 1e-9 && abs((cloze[0].error ?? 0) - exp(2)) < 1e-9)
        #expect(cloze[1] == .init(name: "acc", value: 0.5, error: 0.5, higherIsBetter: true))

        let document = TaskResults([result], bos: "none").harness(
            model: "a/b", network: "as stored", length: 8, limit: nil, version: "1", start: 1, end: 3)
        #expect(document["results"]?["piqa"]?["acc,none"]?.number == result.metrics[0].value)
        #expect(document["results"]?["piqa"]?["acc_norm_stderr,none"]?.number == result.metrics[1].error)
        #expect(document["n-samples"]?["piqa"] == ["original": 3, "effective": 3] && document["config"]?["limit"] == .null)
        #expect(document["model_name_sanitized"]?.string == "a__b" && document["config"]?["bos"]?.string == "none")
    }
}
