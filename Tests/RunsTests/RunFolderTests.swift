import Evaluation
import Foundation
import Parallelism
import TestSupport
import Testing

@testable import Configuration
@testable import Runs
@testable import Support

@Suite struct RunFolderTests {
    private func text(_ path: String) throws -> String {
        String(decoding: try InputFile.contents(of: path, limit: 1 << 20), as: UTF8.self)
    }

    @Test func `a run leaves its configuration, a line per step and a summary`() throws {
        let temporary = try TemporaryFolder()
        let config = try RunConfig(assignments: ["training.steps=2"])
        let path = temporary.file("a/b")
        do {
            let folder = RunFolder(path, isWriter: true)
            try folder.create(config, job: "rotate")
            for step in 1...2 {
                var line = JSONObject()
                line["step"] = .integer(step)
                line["loss"] = .double(0.5)
                try folder.append(line)
            }
            try folder.write(Self.summary)
        }
        #expect(try RunConfig(file: path + "/config.yaml") == config)
        // The first line of each process names the program.
        #expect(
            try text(path + "/metrics.jsonl")
                == "{\"step\":1,\"loss\":0.5,\"program\":\"\(ProgramVersion.name)\"}\n{\"step\":2,\"loss\":0.5}\n")
        #expect(try InputFile.json(path + "/run.json")["program"]?.string == ProgramVersion.name)
        #expect(try entries(ofFolder: path) == ["config.yaml", "metrics.jsonl", "run.json", "run.lock", "summary.json"])

        // Another run in the same folder, after this one, starts with neither metrics nor summary.
        try RunFolder(path, isWriter: true).create(config, job: "rotate")
        #expect(try text(path + "/metrics.jsonl").isEmpty)
        #expect(PathKind(path + "/summary.json") == .absent)
    }

    @Test func `no other run touches the folder of one that goes on, and the next one may`() throws {
        let temporary = try TemporaryFolder()
        let path = temporary.file("a")
        do {
            let folder = RunFolder(path, isWriter: true)
            try folder.create(RunConfig(), job: "rotate")
            let other = RunFolder(path, isWriter: true)
            for attempt in [other.claim, { try other.create(RunConfig(assignments: ["training.steps=9"]), job: "rotate") }] {
                let error = #expect(throws: FolderInUse.self, performing: attempt)
                #expect(error?.exitCode == .configuration)
            }
            #expect(try RunConfig(file: path + "/config.yaml") == RunConfig())
            try withExtendedLifetime(folder) { try folder.append(JSONObject()) }
        }
        try RunFolder(path, isWriter: true).claim()
    }

    @Test(arguments: [false, true]) func `a run that waits for another one says so, once, and keeps its name`(
        _ isSigned: Bool
    ) throws {
        let temporary = try TemporaryFolder()
        let other = open(temporary.file("run.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        #expect(flock(other, LOCK_EX) == 0)
        var lines: [String] = []
        do {
            let lock = try FolderLock(temporary.path) {
                lines.append($0)
                if isSigned { #expect(write(other, "a", 1) == 1) }
                // A while after it has been told, in which it could be told again.
                DispatchQueue.global().asyncAfter(deadline: .now() + 0.5) { close(other) }
            }
            withExtendedLifetime(lock) {}
        }
        #expect(lines.count == 1 && lines.first?.contains("waits 5 seconds at most") == true, "\(lines)")
        #expect(try entries(ofFolder: temporary.path) == (isSigned ? ["run.lock"] : []))
    }

    @Test func `a lock that no run has signed goes, and whoever waits for it makes another`() throws {
        let temporary = try TemporaryFolder()
        var first = try FolderLock(temporary.path) as FolderLock?
        do {
            let second = try FolderLock(temporary.path) { _ in first = nil }
            withExtendedLifetime(second) { #expect(FolderLock.isHeld(temporary.path) && first == nil) }
        }
        #expect(try entries(ofFolder: temporary.path) == [])
    }

    @Test func `the copy in floats of an earlier run goes with its results, and nothing that is read from it`() throws {
        let temporary = try TemporaryFolder()
        let (path, dense) = (temporary.file("a"), temporary.file("a/dense"))
        try RunFolder(path, isWriter: true).create(RunConfig(), job: "quantize")
        try makeFolder(dense)
        let config = try RunConfig(assignments: ["model.path=\(dense)"])
        #expect(throws: FolderOccupied.self) { try RunFolder(path, isWriter: true).create(config, job: "quantize") }
        #expect(PathKind(dense) == .folder)
        try RunFolder(path, isWriter: true).create(RunConfig(), job: "quantize")
        #expect(PathKind(dense) == .absent)
    }

    @Test func `runs that name no folder and begin in the same second have one each, and one that is refused leaves none`()
        throws
    {
        let temporary = try TemporaryFolder()
        let parent = temporary.file("runs")
        let folders = (0..<3).map { _ in NewRunFolder(job: "eval", below: parent) }
        let paths = folders.map { $0.make() }
        #expect(Set(paths).count == 3)
        try AtomicFile.write("", to: paths[1] + "/run.json")
        for folder in folders { folder.release() }
        #expect(try entries(ofFolder: parent).map { "\(parent)/\($0)" } == [paths[1]])
        let other = NewRunFolder(job: "eval", below: temporary.file("new"))
        #expect(PathKind(other.make()) == .folder)
        other.release()
        #expect(PathKind(temporary.file("new")) == .absent)
    }

    @Test func `what runs of a sweep have saved, and how far they are, is its own progress`() throws {
        let temporary = try TemporaryFolder()
        func add(_ name: String, _ content: String = "") throws { try AtomicFile.write(content, to: temporary.file(name)) }
        for folder in ["a", "a/checkpoints", "b"] { try makeFolder(temporary.file(folder)) }
        try add("a/checkpoints/LATEST", "step-4")
        #expect(RunFolder.saved(temporary.path).isEmpty)
        try add("a/run.json")
        let (saved, place) = (RunFolder.saved(temporary.path), RunFolder.place(temporary.path))
        #expect(!saved.isEmpty)
        // One that has only begun is at another place, and has saved nothing.
        try add("b/run.json")
        #expect(RunFolder.saved(temporary.path) == saved && RunFolder.place(temporary.path) != place)
        try add("b/summary.json")
        try add("b/metrics.jsonl", "{}\n{}\n")
        #expect(RunFolder.saved(temporary.path) != saved)
        #expect(place != RunFolder.place(temporary.path) && RunFolder.place(temporary.path).steps == 2)
    }

    @Test(arguments: ["a/model", "a", "a/model/.."])
    func `a run does not begin where its input's files would be removed`(_ input: String) throws {
        let temporary = try TemporaryFolder()
        let place = input == "a" ? "a" : "a/model"
        try FileManager.default.createDirectory(atPath: temporary.file("a/model"), withIntermediateDirectories: true)
        try AtomicFile.write("factors", to: temporary.file("a/model/ternary.safetensors"))
        let config = try RunConfig(assignments: ["model.path=\(temporary.file(input))"])
        let error = #expect(throws: FolderOccupied.self) {
            try RunFolder(temporary.file(place), isWriter: true).create(config, job: "eval")
        }
        #expect(error?.exitCode == .configuration && error?.description.contains("model.path") == true)
        #expect(try text(temporary.file("a/model/ternary.safetensors")) == "factors")
        #expect(try entries(ofFolder: temporary.file(place)) == (place == "a" ? ["model"] : ["ternary.safetensors"]))
        // A folder within it is nobody's yet.
        try RunFolder(temporary.file("a/model/run"), isWriter: true).create(config, job: "eval")
    }

    private static var summary: RunSummary {
        RunSummary(
            job: "rotate", model: "embedded", seed: 1, dims: ParallelDims(data: 2, pipeline: 1), seconds: 30,
            MeasuredSteps(count: 10, seconds: 2, tokens: 2048, bytesSent: 7, flops: 8e9),
            MeasuredRanks(
                peakMemoryBytes: [5, 6], productFlops: 1e10, floatProductFlops: 5e9, openBLASCore: "Haswell", kernels: "avx2",
                coreShare: 0.5))
    }

    @Test func `the summary has the keys scripts rely on`() throws {
        let json = Self.summary.json
        #expect(json["tokens_per_second"]?.number == 1024)
        // 8e9 operations in 2 s on two ranks of 1e10 per second that share a core.
        #expect(json["model_flops_utilization"]?.number == 0.4)
        #expect(json["peak_memory_bytes_per_rank"]?.integers == [5, 6])
        let keys = [
            "job", "world_size", "data_parallel", "pipeline_parallel", "steps", "seconds", "seconds_per_step",
            "tokens_per_second",
            "peak_memory_bytes_per_rank", "bytes_sent_per_step", "model", "seed", "flops_per_step", "gemm_peak_flops",
            "float32_gemm_peak_flops", "openblas_core", "kernels", "core_share", "model_flops_utilization",
        ]
        #expect(json.object?.keys.sorted() == keys.sorted())
    }

    @Test func `the result of rotations has the keys scripts rely on, and becomes a table of 80 columns`() throws {
        var quantization = try RunConfig(assignments: ["quantization.kv.value_bits=8"]).quantization
        var table = ScoreTable(NetworkBits(quantization), windows: 40, length: 256)
        let rows = [
            ("full_precision", "full precision", 30.17, 0), ("rtn", "round to nearest", 44.69, 0.4),
            ("rtn_folded", "round to nearest, norms folded", 89506.12, 8.1234), ("hadamard", "Hadamard", 31.5, 0.06),
            ("learned", "learned", 31.2, 0.0569),
        ]
        for (key, label, perplexity, kl) in rows {
            table.add(
                key, label, NetworkBits(quantization), LanguageModelScore(perplexity: perplexity, klDivergence: kl),
                ModelSize(linearBytes: 17_000_000_000, weights: 8_000_000_000, otherBytes: 0))
        }
        quantization.kv.valueBits = nil
        let result = RotationResult(
            table: table, loss: ["first": 0.07, "last": 0.05], orthogonalityError: 1e-6, invarianceError: 1e-5,
            settings: quantization)
        let json = JSONValue.object(result.json)
        #expect(
            json["perplexity"]
                == ["full_precision": 30.17, "rtn": 44.69, "rtn_folded": 89506.12, "hadamard": 31.5, "learned": 31.2])
        #expect(json["kl_divergence"] == ["rtn": 0.4, "rtn_folded": 8.1234, "hadamard": 0.06, "learned": 0.0569])
        #expect(json["loss"] == ["first": 0.07, "last": 0.05])
        #expect(json["bits"] == ["weights": 16, "activations": 4, "kv": 4, "keys": 4, "values": 4])
        #expect(json["rows"]?.array?.last?["bits"] == ["weights": 16, "activations": 4, "keys": 4, "values": 8])
        #expect(json["rows"]?.array?.last?["bits_per_weight"]?.number == 17)
        let lines = result.table.text.split(separator: "\n")
        #expect(lines.count == 8)
        #expect(lines[0] == "W16 A4 K4 V8, 40 windows of 256 tokens")
        #expect(Set(lines.dropFirst().map(\.count)).count == 1)
        #expect(lines[1].count <= 80, "\(result.table.text)")
        #expect(lines[7].hasPrefix("learned") && lines[7].contains("31.20") && lines[7].contains("0.0569"))
    }

    @Test func `only the writing rank touches the disk`() throws {
        let temporary = try TemporaryFolder()
        let folder = RunFolder(temporary.file("a"), isWriter: false)
        try folder.create(RunConfig(), job: "rotate")
        try folder.append(JSONObject())
        try folder.write(Self.summary)
        #expect(PathKind(folder.path) == .absent)
    }

    @Test func `a folder that cannot be made is an error of input and output`() throws {
        let temporary = try TemporaryFolder()
        try AtomicFile.write("x", to: temporary.file("file"))
        for path in [temporary.file("file"), temporary.file("file/below"), "/proc/none"] {
            let error = #expect(throws: RunFolderError.self) {
                try RunFolder(path, isWriter: true).create(RunConfig(), job: "rotate")
            }
            #expect(error?.exitCode == .io)
        }
    }

    @Test(arguments: [
        (31.2249, 2, "31.22"), (0.05, 4, "0.0500"), (-0.001, 2, "0.00"), (-1.5, 1, "-1.5"), (2.999, 2, "3.00"), (7.5, 0, "8"),
    ])
    func `numbers are printed with fixed decimals`(_ value: Double, _ decimals: Int, _ text: String) {
        #expect(value.formatted(decimals: decimals) == text)
    }
}
