import Compression
import Configuration
import Support
import TestSupport
import Testing

@testable import Jobs

/// The row that others are compared with has the bits that they have.
@Suite struct PlainRowTests {
    @Test(arguments: [
        ["quantization.overrides=*.down_proj=8,*.up_proj=16"], ["quantization.embedding_bits=8", "quantization.head_bits=4"],
    ]) func `rounding to nearest is compared at the bits that each weight has`(_ settings: [String]) throws {
        let folder = try TemporaryFolder()
        let common = ["quantization.weights.bits=4"] + settings
        let rows = try summary(of: QuantizeJob(), in: folder, "a", common)["rows"]?.array ?? []
        let (plain, written) = (rows.first { $0["key"]?.string == "rtn" }, rows.first { $0["key"]?.string == "quantized" })
        // The job's own method is rounding to nearest, too.
        #expect(plain?["perplexity"]?.number == written?["perplexity"]?.number)
        let (bits, writtenBits) = (plain?["bits_per_weight"]?.number ?? 0, written?["bits_per_weight"]?.number ?? 0)
        // Codes and scales, and not the shapes that a folder holds besides.
        #expect(bits > 4 && writtenBits == bits)
        let (bytes, writtenBytes) = (plain?["bytes"]?.integer ?? 0, written?["bytes"]?.integer ?? 0)
        #expect(writtenBytes == bytes && bytes > 0)

        let whole = ["quantization.activations.bits=16", "quantization.kv.bits=16"]
        let scored = try summary(of: EvaluateJob(), in: folder, "b", common + whole)["rows"]?.array ?? []
        let again = scored.first { $0["key"]?.string == "rtn" }
        #expect(again?["perplexity"]?.number == plain?["perplexity"]?.number && again?["bytes"]?.integer == bytes)
    }
}

extension PlainRowTests {
    /// With a range for the token at the output projection's input, or with one for each head.
    @Test(arguments: ["auto", "true", "false"])
    func `rounding to nearest rounds inputs as what is written does`(_ ranges: String) throws {
        let folder = try TemporaryFolder()
        let bits = ["weights", "activations", "kv"].map { "quantization.\($0).bits=4" }
        let rows =
            try summary(
                of: QuantizeJob(), in: folder, "a", bits + ["quantization.activations.head_ranges=\(ranges)"])["rows"]?.array
            ?? []
        let (plain, written) = (try #require(rows.first { $0["key"]?.string == "rtn" }), try #require(rows.last))
        for key in ["perplexity", "kl_divergence"] {
            let (a, b) = (try #require(plain[key]?.number), try #require(written[key]?.number))
            #expect(abs(a - b) <= 1e-6 * b, "\(key): \(a) and \(b)")
        }
        #expect(try CompressedFolder(folder.file("a/model")).execution.activationPerHead == (ranges == "true"))
    }

    /// A tied embedding serves as head no longer once norms are folded.
    @Test func `rotated rows count the head that rotations give a tied model`() throws {
        let folder = try TemporaryFolder()
        let tied = ["model.path=\(GoldenSuite.testsFolder)/Golden/llama/llama_tied_hf", "quantization.weights.bits=4"]
        let rotated = try summary(of: RotateJob(), in: folder, "a", tied + ["training.steps=1"])["rows"]?.array ?? []
        let scored = try summary(of: EvaluateJob(), in: folder, "b", tied + ["eval.hadamard=true"])["rows"]?.array ?? []
        let written = try #require(rotated.last?["bytes"]?.integer)
        for rows in [rotated, scored] {
            let bytes = rows.map { ($0["key"]?.string ?? "", $0["bytes"]?.integer ?? 0) }
            let stored = try #require(bytes.first { $0.0 == "rtn" }).1
            for row in bytes where ["rtn_folded", "hadamard", "learned"].contains(row.0) {
                #expect(row.1 > stored && abs(row.1 - written) < written / 50, "\(row) of \(written)")
            }
        }
        #expect(scored.contains { $0["key"]?.string == "hadamard" })
    }
}

extension PlainRowTests {
    /// An embedding that is the head, too, is rounded as both.
    @Test func `bits of a tied head alone are a matrix of its own`() throws {
        let folder = try TemporaryFolder()
        let tied = [
            "model.path=\(GoldenSuite.testsFolder)/Golden/llama/llama_tied_hf", "quantization.activations.bits=16",
            "quantization.kv.bits=16", "quantization.head_bits=4",
        ]
        let rows = try summary(of: EvaluateJob(), in: folder, "a", tied)["rows"]?.array ?? []
        let (whole, plain) = (rows.first, rows.first { $0["key"]?.string == "rtn" })
        #expect(try #require(plain?["kl_divergence"]?.number) > 0)
        let bytes = try [whole, plain].map { try #require($0?["bytes"]?.integer) }
        // 256 rows of 64 numbers of 4 bits, and a scale each.
        #expect(bytes[1] - bytes[0] == 256 * 36)
    }

    @Test func `factors are scored with the inputs that are asked for, also beside the folder they were written in`() throws {
        let folder = try TemporaryFolder()
        _ = try summary(of: PtqJob(), in: folder, "made", ["ternary.tolerance=0.3", "ternary.layers=*.q_proj"])
        func divergence(_ bits: Int, _ more: [String]) throws -> Double {
            let rows = try summary(
                of: EvaluateJob(), in: folder, "\(bits)\(more.count)",
                ["ternary.path=\(folder.file("made"))", "quantization.activations.bits=\(bits)", "quantization.kv.bits=16"]
                    + more)
            return try #require(rows["rows"]?.array?.last?["kl_divergence"]?.number)
        }
        let trained = ["eval.trained=\(folder.file("made/model"))"]
        let (exact, rounded) = (try divergence(16, trained), try divergence(4, trained))
        #expect(rounded > 1.5 * exact)
        #expect(try abs(divergence(4, []) - rounded) < 0.01 * rounded)
    }

    @Test(arguments: ["f32", "input"])
    func `a row of what is written has the bytes of the type it is written in`(_ type: String) throws {
        let folder = try TemporaryFolder()
        let more = ["model.dtype=\(type)", "ternary.tolerance=0.3", "ternary.layers=*.q_proj"]
        for (name, job) in [("ptq", PtqJob() as any Job), ("rotate", RotateJob())] {
            let result = try summary(of: job, in: folder, name, more)
            // Of the same layers, in 4 bits a weight or in fewer.
            if let rounded = result["rows"]?.array?.first(where: { $0["key"]?.string == "int4" }) {
                let difference = try #require(rounded["bytes"]?.integer) - #require(result["model_bytes"]?.integer)
                #expect(abs(difference) < 4 * 256 * 256 / 2)
            }
            #expect(result["rows"]?.array?.last?["bytes"]?.integer == result["model_bytes"]?.integer, "\(name)")
        }
    }

    @Test func `bits of the cache that a folder has otherwise for keys or values are refused`() throws {
        let folder = try TemporaryFolder()
        let bits = ["quantization.weights.bits=4", "quantization.kv.key_bits=8", "quantization.kv.value_bits=4"]
        _ = try summary(of: QuantizeJob(), in: folder, "made", bits)
        let model = "model.path=\(folder.file("made/model"))"
        func configuration(_ more: [String]) throws -> RunConfig {
            try SettingsRequest(assignments: [model] + more).configuration(job: "eval")
        }
        for (given, isRefused) in [
            ([], false), (["quantization.kv.bits=8"], true), (["quantization.kv.bits=4"], true),
            (["quantization.kv.bits=8", "quantization.kv.key_bits=same"], true),
            (["quantization.kv.bits=2", "quantization.kv.key_bits=8", "quantization.kv.value_bits=4"], false),
            (["quantization.kv.bits=8", "quantization.kv.value_bits=4"], false),
        ] {
            let config = try? configuration(given)
            #expect((config == nil) == isRefused, "\(given)")
            if let config { #expect(config.quantization.kv.keys == 8 && config.quantization.kv.values == 4) }
        }
    }

    @Test func `ranges that one network finds otherwise than another are named`() {
        var (a, b) = (Execution(), Execution())
        (a.activationPerHead, b.cacheSymmetric) = (false, true)
        // Nothing is rounded.
        #expect(a.otherRanges(than: b).isEmpty)
        (a.activationBits, b.activationBits) = (4, 8)
        #expect(a.otherRanges(than: b) == ["quantization.activations.head_ranges"])
        (a.valueBits, b.valueBits) = (4, 4)
        #expect(a.otherRanges(than: b) == ["quantization.activations.head_ranges", "quantization.kv.symmetric"])
    }
}

/// What is not rounded leaves no trace of how it would be.
@Suite struct UnroundedRangeTests {
    @Test(arguments: ["quantization.activations.symmetric=true", "quantization.kv.symmetric=true"])
    func `a folder of weights alone is other programs' own, whatever ranges are asked for`(_ setting: String) throws {
        let folder = try TemporaryFolder()
        _ = try summary(of: QuantizeJob(), in: folder, "a", ["quantization.weights.bits=4", setting])
        let config = try InputFile.json(folder.file("a/model/config.json"))
        #expect(config["model_type"]?.string == "llama")
        #expect(config["quantization_config"]?["quant_method"]?.string == "compressed-tensors")
    }
}
