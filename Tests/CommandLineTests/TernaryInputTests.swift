import Foundation
import HuggingFace
import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// Wrong settings, weights and packed files of the ternary jobs, and what they leave when all is right.
    @Suite struct Ternary {
        private func arguments(_ job: String, _ model: ModelFolder, _ settings: [String]) -> [String] {
            [job] + model.arguments() + settings.flatMap { ["--set", $0] }
        }

        @Test(arguments: ["ptq", "qat"], [0, 2]) func `settings out of range and patterns without a layer are refused`(
            _ job: String, _ ranks: Int
        ) throws {
            let model = try ModelFolder()
            let cases = [
                ("ternary.tolerance=0", "ternary.tolerance"), ("ternary.tolerance=1", "ternary.tolerance"),
                ("ternary.tolerance=-0.1", "ternary.tolerance"), ("ternary.tolerance=nan", "ternary.tolerance"),
                ("ternary.threshold=0", "ternary.threshold"), ("ternary.threshold=1.001", "ternary.threshold"),
                ("ternary.layers=*.nope", "matches no linear layer"), ("ternary.layers=lm_head", "matches no linear layer"),
            ]
            for (setting, fragment) in cases {
                try Program.expectRefusal(
                    arguments(job, model, [setting]), in: model.path, ranks: ranks, code: 78, fragment: fragment)
            }
        }

        @Test(arguments: [0, 2])
        func `an interface that is none of this machine, or all, is refused before anything is written`(_ ranks: Int) throws {
            let model = try ModelFolder()
            for interface in ["*", "0.0.0.0", "nope0", "203.0.113.7"] {
                try Program.expectRefusal(
                    arguments("qat", model, ["bus.transport=tcp", "bus.interface=\(interface)"]), in: model.path, ranks: ranks,
                    code: 78,
                    fragment: "bus.interface")
            }
        }

        @Test(arguments: ["ptq", "qat"], [0, 2]) func `a weight that is not finite is refused by name`(
            _ job: String, _ ranks: Int
        ) throws {
            let model = try ModelFolder()
            let weight = "model.layers.0.mlp.up_proj.weight"
            let file = "model/model.safetensors"
            var bytes = try model.read(file)
            let header = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
            let entry = try #require(try JSONValue(parsing: Array(bytes[8..<8 + header]))[weight])
            let first = 8 + header + (try #require(entry["data_offsets"]?.integers?.first))
            // NaN in F32, F16 and BF16 alike.
            bytes.replaceSubrange(first..<first + 4, with: [0xC0, 0x7F, 0xC0, 0x7F])
            try model.write(bytes, to: file)
            try Program.expectRefusal(arguments(job, model, []), in: model.path, ranks: ranks, code: 65, fragment: weight)
        }

        @Test(arguments: [(nil, 3, 1e-4), (3, nil, 1e-2), (3, 5, 1e-10)] as [(Int?, Int?, Float)])
        func `training keeps the additions where every layer has a weak channel`(
            _ row: Int?, _ column: Int?, _ factor: Float
        ) throws {
            let model = try ModelFolder()
            try model.scaleLinears(row: row, column: column, by: factor)
            let tokens = (0..<64).map { ($0, Int32(1 + $0 * $0 % 40)) }
            try model.writeTokens(to: "data.safetensors", except: Dictionary(uniqueKeysWithValues: tokens))
            let outcome = try Program.run(
                arguments("qat", model, ["ternary.tolerance=0.2", "training.steps=8"]), in: model.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let summary = try InputFile.json(model.file("out/summary.json"))
            let (before, after) = (
                try #require(summary["additions_before"]?.number), try #require(summary["additions"]?.number)
            )
            #expect(after > 0.99 * before && after <= before, "\(after) of \(before)")
        }

        /// Decomposes the model; the packed file is then `out/ternary.safetensors`.
        private func decompose(_ model: ModelFolder, _ settings: [String] = [], ranks: Int = 0) throws {
            let outcome = try Program.run(
                arguments("ptq", model, ["ternary.tolerance=0.3"] + settings), in: model.path, ranks: ranks)
            #expect(outcome.code == 0, "\(outcome.errors)")
        }

        @Test func `a packed file scores as it did when it was made, on one rank and on two`() throws {
            let model = try ModelFolder()
            try decompose(model)
            let expected = try #require(
                try InputFile.json(model.file("out/summary.json"))["perplexity"]?["ternary_ptq"]?.number)
            // The row obeys what the table's title says, and ptq quantizes neither activations nor cache.
            let settings = [
                "ternary.path=out/ternary.safetensors", "quantization.activations.bits=16", "quantization.kv.bits=16",
            ]
            for ranks in [0, 2] {
                let outcome = try Program.run(
                    arguments("eval", model, settings) + ["--out", "eval\(ranks)"], in: model.path, ranks: ranks)
                #expect(outcome.code == 0, "\(outcome.errors)")
                let score = try #require(
                    try InputFile.json(model.file("eval\(ranks)/summary.json"))["perplexity"]?["ternary"]?.number)
                // Norms are folded into the weights here and not there: the logits round differently.
                #expect(abs(score / expected - 1) < 1e-4)
            }
        }

        @Test(arguments: [0, 2]) func `a packed file that is damaged, or of another model, is refused by eval and profile`(
            _ ranks: Int
        ) throws {
            let model = try ModelFolder()
            try decompose(model, ["ternary.layers=*.0.mlp.up_proj"])
            let file = "out/ternary.safetensors"
            let good = try model.read(file)
            let header = good.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
            let text = String(decoding: good[8..<8 + header], as: UTF8.self)
            func expectRefusal(_ fragment: String, _ bytes: [UInt8]) throws {
                try model.write(bytes, to: file)
                try Program.expectRefusal(
                    arguments("eval", model, ["ternary.path=\(file)"]) + ["--out", "eval"], in: model.path, ranks: ranks,
                    code: 65,
                    fragment: fragment)
                try Program.expectRefusal(["profile", "out"], in: model.path, ranks: ranks, code: 65, fragment: fragment)
            }
            var bytes = good
            bytes[8 + header + 5] ^= 16
            try expectRefusal("does not match its SHA-256", bytes)
            // The same lengths under another name: a layer of another shape, or none. All digests are right.
            func renamed(_ name: String) throws -> [UInt8] {
                let other = text.replacingOccurrences(of: "mlp.up_proj", with: name)
                var metadata = try #require(try JSONValue(parsing: Array(other.utf8))["__metadata__"]?.object)
                let old = try #require(metadata["metadata_sha256"]?.string)
                metadata["metadata_sha256"] = nil
                let lines = metadata.keys.map { "\($0)=\(metadata[$0]?.string ?? "")\n" }.sorted()
                let seal = sha256(of: lines.flatMap { Array($0.utf8) })
                return ModelFolder.safetensors(
                    header: other.replacingOccurrences(of: old, with: seal), data: Array(good[(8 + header)...]))
            }
            try expectRefusal("none of that name and shape", try renamed("mlp.down_proj"))
            try expectRefusal("none of that name and shape", try renamed("mlp.sideways"))
            try expectRefusal("are not within", Array(good.dropLast(1)))
            try expectRefusal(
                "do not match their SHA-256",
                ModelFolder.safetensors(
                    header: text.replacingOccurrences(of: "mlp.up_proj", with: "mlp.dn_proj"),
                    data: Array(good[(8 + header)...])))
            // The same length again, of a version long gone.
            let older = text.replacingOccurrences(of: #""version":"5""#, with: #""version":"2""#)
            try #require(older != text)
            try expectRefusal("version 2", ModelFolder.safetensors(header: older, data: Array(good[(8 + header)...])))
        }

        /// What a run leaves, without what tells the time.
        private func results(_ model: ModelFolder) throws -> [[UInt8]] {
            try ["ternary.safetensors", "model/model.safetensors"].map { try model.read("out/\($0)") }
        }

        @Test func `ptq leaves the same bits on one rank and on two`() throws {
            let model = try ModelFolder()
            try decompose(model)
            let one = try results(model)
            try decompose(model, ranks: 2)
            #expect(try results(model) == one)
        }

        @Test(arguments: [[], ["ternary.bits=4"]])
        func `factors that look at inputs lose less, and two ranks find what one finds`(_ settings: [String]) throws {
            let model = try ModelFolder()
            let given = ["ternary.tolerance=0.3", "calibration.sequences=8", "data.sampled_sequences=8"] + settings
            func run(_ weighting: String, ranks: Int) throws -> (divergence: Double, errors: [Double]) {
                let settings = weighting == "none" ? ["ternary.tolerance=0.3"] : given + ["ternary.weighting=\(weighting)"]
                let outcome = try Program.run(
                    arguments("ptq", model, settings) + ["--overwrite"], in: model.path, ranks: ranks)
                #expect(outcome.code == 0, "\(outcome.errors)")
                let summary = try InputFile.json(model.file("out/summary.json"))
                return (
                    try #require(summary["kl_divergence"]?["ternary_ptq"]?.number),
                    try #require(summary["layers"]?.array).compactMap { $0["weighted_error"]?.number }
                )
            }
            let (plain, one, two) = (
                try run("none", ranks: 0), try run("both", ranks: 0), try run("both", ranks: 2)
            )
            #expect(one.divergence < 0.8 * plain.divergence, "\(one.divergence) after \(plain.divergence)")
            #expect(one.errors.count == 14 && two.errors.count == 14 && plain.errors.isEmpty)
            // Sums over tokens are added in another order, which turns an entry here and there.
            for (first, second) in zip(one.errors, two.errors) { #expect(abs(second / first - 1) < 0.05) }
        }

        @Test func `bits that cannot be divided are refused`() throws {
            let model = try ModelFolder()
            for (job, settings, fragment) in [
                ("ptq", ["ternary.bits=3"], "ternary.weighting"), ("ptq", ["ternary.bits=9"], "ternary.bits"),
                ("qat", ["ternary.weighting=both"], "ternary.path"),
            ] {
                try Program.expectRefusal(
                    arguments(job, model, settings), in: model.path, ranks: 0, code: 78, fragment: fragment)
            }
            // What the layers can have is known once they have been looked at.
            let outcome = try Program.run(
                arguments("ptq", model, ["ternary.bits=0.1", "ternary.weighting=both"]), in: model.path)
            #expect(outcome.code == 78 && outcome.errors.contains("must be from"), "\(outcome.errors)")
        }

        @Test func `factors of 2 to 4 are written as such, trained as such, and no others are taken for them`() throws {
            let model = try ModelFolder()
            let sparse = "ternary.sparsity=2:4"
            /// No other factors can be read under this name.
            func isSparse(_ out: String) throws -> Bool {
                let metadata = try SafetensorsFile(model.file("\(out)/model/ternary.safetensors")).metadata
                let layers = metadata.keys.filter { $0.hasSuffix(".shape") }.map { $0.dropLast("shape".count) }
                return layers.count == 14 && layers.allSatisfy { metadata["\($0)sparsity"] == "2:4" }
            }
            for (number, settings) in [
                [], ["ternary.weighting=both", "calibration.sequences=4"],
                ["ternary.weighting=both", "calibration.sequences=4", "ternary.bits=4"],
            ].enumerated() {
                let given = ["ternary.tolerance=0.3", "data.sampled_sequences=4", sparse]
                let outcome = try Program.run(
                    arguments("ptq", model, given + settings) + ["--out", "p\(number)"], in: model.path)
                #expect(outcome.code == 0, "\(outcome.errors)")
                #expect(try isSparse("p\(number)"))
                #expect(try InputFile.json(model.file("p\(number)/summary.json"))["sparsity"]?.string == "2:4")
            }
            let settings = ["training.steps=4", "ternary.adapt_every=2", sparse]
            let outcome = try Program.run(
                arguments("qat", model, settings + ["model.path=p0/model"]) + ["--out", "q"], in: model.path, ranks: 2)
            #expect(outcome.code == 0, "\(outcome.errors)")
            #expect(try isSparse("q"))
            try decompose(model)
            for (job, settings, fragment) in [
                ("qat", [sparse, "ternary.path=out"], "do not keep to it"),
                ("ptq", [sparse, "ternary.mode=reference"], "needs"),
                ("ptq", [sparse, "ternary.refinement=false"], "needs"), ("ptq", ["ternary.sparsity=1:4"], "one of none, 2:4"),
            ] {
                try Program.expectRefusal(
                    arguments(job, model, settings) + ["--out", "again"], in: model.path, ranks: 0, code: 78, fragment: fragment
                )
            }
        }

        @Test func `training in the reference mode starts from factors of that mode alone`() throws {
            let model = try ModelFolder()
            let reference = "ternary.mode=reference"
            try decompose(model)
            for settings in [["ternary.path=out"], ["model.path=out/model"]] {
                try Program.expectRefusal(
                    arguments("qat", model, settings + [reference]) + ["--out", "again"], in: model.path, ranks: 0, code: 78,
                    fragment: "ternary.mode: is reference, and the factors of model.layers.0")
            }
            let made = try Program.run(
                arguments("ptq", model, ["ternary.tolerance=0.3", reference]) + ["--out", "own"], in: model.path)
            #expect(made.code == 0, "\(made.errors)")
            let outcome = try Program.run(
                arguments("qat", model, ["ternary.path=own", "training.steps=1", reference]) + ["--out", "again"],
                in: model.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
        }

        @Test func `qat leaves the same bits whatever carries the transitions`() throws {
            let model = try ModelFolder()
            var all: [[[UInt8]]] = []
            let relays = ["bus.topology=relay", "bus.ranks_per_relay=1"]
            for (transport, topology) in [("mpi", []), ("ipc", []), ("tcp", []), ("tcp", relays)] {
                let settings =
                    topology + [
                        "bus.transport=\(transport)", "training.steps=5", "ternary.adapt_every=2", "ternary.tolerance=0.3",
                    ]
                let outcome = try Program.run(arguments("qat", model, settings), in: model.path, ranks: 2)
                #expect(outcome.code == 0, "\(transport): \(outcome.errors)")
                all.append(try results(model))
            }
            #expect(all.allSatisfy { $0 == all[0] })
        }

        @Test(arguments: ["ternary.tolerance=1e-6"]) func `what cannot be reached is refused before anything is done`(
            _ setting: String
        ) throws {
            let model = try ModelFolder()
            for job in ["ptq", "qat"] {
                try Program.expectRefusal(
                    arguments(job, model, [setting]), in: model.path, ranks: 0, code: 78, fragment: "1e-05")
            }
        }

        @Test func `qat starts from factors and says so, and no job decomposes their product again`() throws {
            let model = try ModelFolder()
            try decompose(model, ["model.dense=true"])
            let expected = try #require(
                try InputFile.json(model.file("out/summary.json"))["perplexity"]?["ternary_ptq"]?.number)
            // The run's folder or its file; from the original model, from the packed one, or from that alone.
            for (number, settings) in [
                ["ternary.path=out"], ["ternary.path=out/ternary.safetensors", "model.path=out/model"],
                ["model.path=out/model"],
            ].enumerated() {
                let outcome = try Program.run(
                    arguments("qat", model, settings) + ["--out", "qat\(number)"], in: model.path, ranks: number == 0 ? 2 : 0)
                #expect(outcome.code == 0, "\(outcome.errors)")
                let start = try InputFile.json(model.file("qat\(number)/summary.json"))["perplexity"]?["ternary_ptq"]?.number
                #expect(try abs(#require(start) / expected - 1) < 1e-4)
                #expect(outcome.output.contains("ternary, as given") && !outcome.output.contains("as decomposed"))
            }
            for job in ["ptq", "qat"] {
                try Program.expectRefusal(
                    arguments(job, model, ["model.path=out/dense"]) + ["--out", "again"], in: model.path, ranks: 0, code: 78,
                    fragment: "holds products of the ternary factors")
            }
            try Program.expectRefusal(
                arguments("ptq", model, ["model.path=out/model"]) + ["--out", "again"], in: model.path, ranks: 0, code: 78,
                fragment: "holds ternary factors")
            for (job, settings) in [
                ("ptq", ["ternary.path=out"]), ("qat", ["ternary.path=out", "qat.method=integer"]),
                ("qat", ["ternary.path=out", "model.path=qat0/model"]),
            ] {
                try Program.expectRefusal(
                    arguments(job, model, settings) + ["--out", "again"], in: model.path, ranks: 0, code: 78,
                    fragment: "ternary.path")
            }
            try Program.expectRefusal(
                arguments("qat", model, ["ternary.path=nothing"]) + ["--out", "again"], in: model.path, ranks: 0, code: 66,
                fragment: "nothing")
        }

        @Test func `qat starts from another model's factors only where that is asked for, and says so`() throws {
            let model = try ModelFolder()
            try decompose(model, [])
            try model.fill("model.norm.weight", with: 0.5)
            let given = arguments("qat", model, ["ternary.path=out"]) + ["--out", "qat"]
            try Program.expectRefusal(given, in: model.path, ranks: 0, code: 78, fragment: "allow_mismatch=true")
            let allowed = try Program.run(given + ["--set", "allow_mismatch=true"], in: model.path)
            #expect(
                allowed.code == 0 && allowed.output.contains("was made from another model than model"),
                "\(allowed.output)\(allowed.errors)")
        }

        @Test(arguments: [nil, 1e6] as [Double?]) func `iterative rotations are made orthogonal and written`(_ rate: Double?)
            throws
        {
            let model = try ModelFolder()
            let settings =
                ["rotation.retraction=iterative", "training.steps=20"] + (rate.map { ["training.learning_rate=\($0)"] } ?? [])
            let outcome = try Program.run(arguments("rotate", model, settings), in: model.path)
            #expect(outcome.code == 0, "\(outcome.errors)")
            let error = try InputFile.json(model.file("out/summary.json"))["orthogonality_error"]?.number
            #expect(try #require(error) < 1e-6)
        }

        @Test(arguments: [["qat.distill=true"], ["qat.method=integer", "quantization.weights.bits=4"]])
        func `every way of qat runs`(_ settings: [String]) throws {
            let model = try ModelFolder()
            let outcome = try Program.run(
                arguments("qat", model, ["training.steps=2", "ternary.tolerance=0.3"] + settings), in: model.path, ranks: 2)
            #expect(outcome.code == 0, "\(outcome.errors)")
        }
    }
}
