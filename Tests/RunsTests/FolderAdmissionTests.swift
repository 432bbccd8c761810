import Foundation
import Support
import TestSupport
import Testing

@testable import Configuration
@testable import Runs

/// What a run may begin in, and what becomes of what is there.
@Suite struct FolderAdmissionTests {
    private let temporary: TemporaryFolder
    private var path: String { temporary.file("run") }
    private let settings = ["training.steps=4", "training.seed=1"]

    init() throws { temporary = try TemporaryFolder() }

    private func config(_ more: [String] = []) throws -> RunConfig { try RunConfig(assignments: settings + more) }

    private func check(
        _ job: String = "rotate", _ more: [String] = [], resume: ResumePolicy? = .auto, overwrites: Bool = false
    ) throws -> FolderAdmission {
        try FolderAdmission.check(path, job: job, config(more), resume: resume, overwrites: overwrites)
    }

    private func begin(_ job: String = "rotate", after steps: Int = 0, _ more: [String] = []) throws {
        try RunFolder(path, run: "a", isWriter: true).create(config(more), job: job, after: steps)
    }

    private func save(_ step: Int) throws {
        let folder = CheckpointFolder(path: "\(path)/checkpoints")
        try folder.begin(step)
        try folder.commit(
            CheckpointManifest(
                identity: .init(job: "rotate", worldSize: 1, model: "m", settings: [:]), step: step, files: [:], record: .init()
            ), keep: 9)
    }

    private func finish() throws {
        for name in ["R.bin", "rotations.safetensors", "ternary.safetensors", "summary.json"] {
            try AtomicFile.write("{}", to: "\(path)/\(name)")
        }
        try makeFolder("\(path)/model")
        try AtomicFile.write("{}", to: "\(path)/model/config.json")
    }

    private func refusal(_ fragment: String, _ work: () throws -> Void, at location: SourceLocation = #_sourceLocation) {
        let error = #expect(throws: FolderOccupied.self, sourceLocation: location, performing: work)
        #expect(error?.exitCode == .configuration, sourceLocation: location)
        #expect(error?.description.contains(fragment) == true, "\(error?.description ?? "")", sourceLocation: location)
        #expect(error?.description.contains("--out") == true, sourceLocation: location)
    }

    @Test func `a new folder, an empty one and one with logs are for anybody`() throws {
        #expect(try check() == .begins)
        try makeFolder(path)
        #expect(try check() == .begins)
        for name in ["job.log", "slurm-1.out", ".gitignore", "run.lock"] { try AtomicFile.write("", to: "\(path)/\(name)") }
        #expect(try check() == .begins && check(resume: .never) == .begins)
    }

    @Test(arguments: ["thesis.tex", "config.yaml", "model", "summary.json"]) func `files that are no run's are refused by name`(
        _ name: String
    ) throws {
        try makeFolder(path)
        try AtomicFile.write("", to: "\(path)/\(name)")
        refusal(name) { _ = try check() }
        #expect(try check(overwrites: true) == .begins)
    }

    @Test func `an unfinished run with other settings is refused where it is asked for`() throws {
        try begin()
        #expect(try check("rotate", ["training.seed=2"]) == .begins)
        func compared(_ more: [String]) throws -> FolderAdmission {
            try FolderAdmission.check(
                path, job: "rotate", config(more), resume: .auto, overwrites: false, comparesUnfinished: true)
        }
        #expect(try compared(["watchdog.step=9", "export.formats=none", "model.dtype=f32"]) == .begins)
        refusal("holds an unfinished run of rotate with other settings: training.seed was 1 and is 2") {
            _ = try compared(["training.seed=2"])
        }
        // One that was being replaced has left nothing.
        try RunRecord(job: "rotate", isReplacing: true).write(folder: path)
        #expect(try compared(["training.seed=2"]) == .begins)
    }

    @Test func `settings that only another job uses are no difference, and a job's own are`() throws {
        try begin("generate")
        try finish()
        #expect(try check("generate", ["verify.tolerance=0.5"], resume: nil) == .finished)
        refusal("other settings: generate.max_tokens") { _ = try check("generate", ["generate.max_tokens=7"], resume: nil) }
        try begin("eval")
        try finish()
        #expect(try check("eval", ["generate.max_tokens=7"], resume: nil) == .finished)
    }

    @Test func `a folder that is cleared is one that a run begins in, and has no results until then`() throws {
        try begin()
        try save(4)
        try finish()
        try RunFolder(path, isWriter: true).clear(for: "eval")
        #expect(try check("eval", ["training.seed=2"]) == .begins)
        refusal("holds a run of eval") { _ = try check("rotate") }
        let names = try entries(ofFolder: path)
        for name in ["summary.json", "R.bin", "model", "checkpoints"] { #expect(!names.contains(name), "\(name)") }
        try RunFolder(temporary.file("nowhere"), isWriter: true).clear(for: "eval")
        #expect(PathKind(temporary.file("nowhere")) == .absent)
    }

    @Test func `the same run is finished, and nothing else may begin in its folder`() throws {
        try begin()
        try save(4)
        try finish()
        #expect(try check() == .finished)
        // Where and how loudly a run works is not what it computes.
        #expect(try check("rotate", ["watchdog.step=9", "checkpoint.every=1", "events.endpoint=none"]) == .finished)
        for job in ["eval", "train", "qat", "ptq"] {
            refusal("holds a run of rotate, and this is \(job)") { _ = try check(job) }
        }
        refusal("training.seed was 1 and is 2") { _ = try check("rotate", ["training.seed=2"]) }
        refusal("training.steps was 4 and is 3") { _ = try check("rotate", ["training.steps=3"]) }
        refusal("--resume never") { _ = try check(resume: .never) }
        for job in ["rotate", "eval"] { #expect(try check(job, overwrites: true) == .begins) }
    }

    @Test func `a run whose input is newer than its results is not finished`() throws {
        let text = temporary.file("text.txt"), model = temporary.file("a model")
        try makeFolder(model)
        for name in [text, "\(model)/weights"] { try AtomicFile.write("", to: name) }
        let inputs = ["data.train.path=\(text)", "model.path=\(model)"]
        try begin("rotate", inputs)
        try finish()
        #expect(try check("rotate", inputs) == .finished)
        // Longer than a tick of the clock that dates files.
        usleep(20_000)
        try AtomicFile.write("other", to: "\(model)/weights")
        refusal("model.path (\(model)) has changed since") { _ = try check("rotate", inputs) }
        try finish()
        usleep(20_000)
        try AtomicFile.write("other", to: text)
        refusal("data.train.path (\(text)) has changed since") { _ = try check("rotate", inputs) }
    }

    @Test func `a run whose text has other content is not finished, whatever its date`() throws {
        let text = temporary.file("text.txt")
        try AtomicFile.write("one", to: text)
        let inputs = ["data.eval.path=\(text)"]
        try begin("rotate", inputs)
        try finish()
        func record(_ digest: String) throws {
            try AtomicFile.write(#"{"data": {"eval": {"sha256": "\#(digest)"}}}"#, to: "\(path)/summary.json")
        }
        try record(InputFile(text).sha256())
        #expect(try check("rotate", inputs) == .finished)
        try record(String(repeating: "0", count: 64))
        refusal("data.eval.path (\(text)) has changed since") { _ = try check("rotate", inputs) }
    }

    @Test func `a key that is renewed changes no results`() throws {
        let keys = temporary.file("run.keys")
        try AtomicFile.write("", to: keys)
        let settings = ["events.keys=\(keys)"]
        try begin("rotate", settings)
        try finish()
        usleep(20_000)
        try AtomicFile.write("other", to: keys)
        #expect(try check("rotate", settings) == .finished)
    }

    @Test func `what names a file is a path, and a word that stands for none is not`() throws {
        let words = ["model.path=embedded", "data.train.path=sampled", "rotation.path=none", "out=auto", "data.field=text"]
        #expect(try RunConfig(assignments: words).descriptions.filter(\.isPath).isEmpty)
        let paths = [
            "model.path=a", "data.train.path=none", "data.eval.path=auto", "rotation.path=./none", "ternary.path=sampled",
            "qat.rotations=a", "events.keys=a", "eval.trained=a", "out=none",
        ]
        let named = try RunConfig(assignments: paths).descriptions.filter(\.isPath).map { "\($0.path)=\($0.value)" }
        #expect(Set(named) == Set(paths))
    }

    @Test func `a run without checkpoints is finished, too`() throws {
        try begin("eval")
        try finish()
        #expect(try check("eval", resume: nil) == .finished)
        refusal("training.seed was 1") { _ = try check("eval", ["training.seed=2"], resume: nil) }
    }

    @Test func `more steps extend a finished run where it has a checkpoint of its end, and all else is equal`() throws {
        try begin()
        try finish()
        refusal("without a checkpoint") { _ = try check("rotate", ["training.steps=6"]) }
        try save(2)
        refusal("without a checkpoint") { _ = try check("rotate", ["training.steps=6"]) }
        try save(4)
        #expect(try check("rotate", ["training.steps=6"]) == .extends(from: 4))
        refusal("training.seed was 1") { _ = try check("rotate", ["training.steps=6", "training.seed=2"]) }
        refusal("training.steps was 4") { _ = try check("rotate", ["training.steps=6"], resume: nil) }
    }

    @Test func `a run that did not end is resumed, and only by its own job`() throws {
        try begin()
        #expect(try check() == .begins)
        refusal("holds a run of rotate, and this is train") { _ = try check("train") }
        try save(2)
        #expect(try check() == .resumes)
        refusal("--resume never") { _ = try check(resume: .never) }
    }

    @Test func `results never stand beside a configuration they were not made with`() throws {
        try begin()
        try save(4)
        try finish()
        try begin("train", ["training.seed=2"])
        #expect(try entries(ofFolder: path) == ["config.yaml", "metrics.jsonl", "run.json", "run.lock"])
        try save(2)
        try finish()
        // Resumed, or extended: what the steps have made stays, what was computed from it goes.
        try begin("train", after: 2, ["training.seed=2"])
        #expect(try entries(ofFolder: path) == ["checkpoints", "config.yaml", "metrics.jsonl", "run.json", "run.lock"])
    }

    @Test func `a run that resumes from its own folder keeps its checkpoints, however the folder is spelled`() throws {
        try FileManager.default.createSymbolicLink(atPath: temporary.file("link"), withDestinationPath: path)
        try begin()
        for step in [2, 4] { try save(step) }
        for source in ["\(path)/", temporary.file("./run"), temporary.file("link")] {
            try RunFolder(path, run: "a", isWriter: true).create(config(), job: "rotate", after: 2, source: source)
            #expect(try CheckpointFolder(path: "\(path)/checkpoints").steps() == [4, 2], "\(source)")
        }
        try makeFolder(temporary.file("other"))
        try RunFolder(path, run: "a", isWriter: true)
            .create(config(), job: "rotate", after: 2, source: temporary.file("other"))
        #expect(try CheckpointFolder(path: "\(path)/checkpoints").steps() == [])
    }

    @Test func `checkpoints behind a link are resumed from and added to`() throws {
        try begin()
        try save(2)
        let (checkpoints, disk) = ("\(path)/checkpoints", temporary.file("disk"))
        try FileManager.default.moveItem(atPath: checkpoints, toPath: disk)
        try FileManager.default.createSymbolicLink(atPath: checkpoints, withDestinationPath: disk)
        #expect(try check() == .resumes)
        try begin(after: 2)
        try save(4)
        #expect(try CheckpointFolder(path: disk).steps() == [4, 2])
        // A run that begins anew keeps its checkpoints there, too, and no file that is none of them is lost.
        let own = ["a.tmp", "notes.tmp.txt", "step-06.tmp", "step-6.tmp.txt"]
        for name in own + ["LATEST.tmp-1a", "step-6.tmp"] { try AtomicFile.write("", to: "\(disk)/\(name)") }
        try begin()
        #expect(PathKind(checkpoints) == .link)
        #expect(try entries(ofFolder: disk) == own)
        try save(2)
        #expect(try entries(ofFolder: disk) == ["LATEST", "a.tmp", "notes.tmp.txt", "step-06.tmp", "step-2", "step-6.tmp.txt"])
        #expect(try CheckpointFolder(path: disk).steps() == [2])
        // A disk that is not there.
        try FileManager.default.moveItem(atPath: disk, toPath: temporary.file("away"))
        #expect(throws: FileError.self) { try check() }
    }

    /// Files that no run has made, since `run.json` is not there, may be overwritten; `checkpoints` comes after the results.
    @Test func `a link to checkpoints that leads nowhere is told before anything is removed`() throws {
        try begin()
        try finish()
        try removeTree("\(path)/run.json")
        try FileManager.default.createSymbolicLink(
            atPath: "\(path)/checkpoints", withDestinationPath: temporary.file("away"))
        let before = try entries(ofFolder: path)
        func clear() throws { try RunFolder(path, isWriter: true).clear(for: "rotate") }
        for start in [{ try begin() }, clear] {
            let error = #expect(throws: FileError.self, performing: start)
            #expect(error?.exitCode == .noInput && error?.description.contains("leads nowhere") == true)
            #expect(try entries(ofFolder: path) == before)
        }
        try makeFolder(temporary.file("away"))
        try clear()
        #expect(PathKind("\(path)/summary.json") == .absent)
    }

    /// Taken for empty, a folder that the system fails to list would be emptied.
    @Test(arguments: ["checkpoints", "run.json", ""]) func `what cannot be read is not taken for absent`(_ name: String) throws
    {
        try begin()
        let place = name.isEmpty ? path : "\(path)/\(name)"
        try removeTree(place)
        try FileManager.default.createSymbolicLink(atPath: place, withDestinationPath: place)
        let error = #expect(throws: FileError.self) { try check() }
        #expect(error?.exitCode == .io)
    }

    /// As a kill between the first file that is written and the last that is removed leaves it.
    @Test func `what a killed start has left of an earlier run is no result of the new one`() throws {
        try begin()
        try save(4)
        try finish()
        try RunRecord(job: "train", isReplacing: true).write(folder: path)
        refusal("holds a run of train") { _ = try check() }
        #expect(try check("train") == .begins, "neither finished nor resumed")
        try begin("train")
        #expect(try entries(ofFolder: path) == ["config.yaml", "metrics.jsonl", "run.json", "run.lock"])
        #expect(try RunRecord(folder: path) == RunRecord(job: "train"))
    }

    @Test func `runs of versions that wrote no record are known by what they saved`() throws {
        try begin()
        try save(4)
        try removeTree("\(path)/run.json")
        #expect(try check() == .resumes)
        refusal("holds a run of rotate") { _ = try check("train") }
        try AtomicFile.write("{\"job\": \"rotate\"}", to: "\(path)/summary.json")
        #expect(try check() == .finished)
        for name in ["checkpoints", "summary.json"] { try removeTree("\(path)/\(name)") }
        refusal("an unknown job") { _ = try check() }
    }

    @Test func `a saved configuration names no folder`() throws {
        try RunFolder(path, isWriter: true).create(config(["out=\(path)"]), job: "rotate")
        #expect(try RunConfig(file: "\(path)/config.yaml").out == nil)
    }

    @Test(arguments: [
        "model.path=MODEL", "data.train.path=RUN/metrics.jsonl", "rotation.path=RUN/R.bin",
        "ternary.path=RUN/../run/ternary.safetensors",
    ])
    func `a run does not remove its own input`(_ setting: String) throws {
        try begin()
        try finish()
        let before = try entries(ofFolder: path)
        let setting = setting.replacing("MODEL", with: "\(path)/model").replacing("RUN", with: path)
        refusal(String(setting.prefix { $0 != "=" })) { try begin("eval", [setting]) }
        #expect(try entries(ofFolder: path) == before)
    }

    @Test func `a run that finishes while another waits for the folder is kept`() throws {
        try makeFolder(path)
        let late = RunFolder(path, isWriter: true)
        late.mayReplaceFinished = false
        try begin()
        try finish()
        #expect(throws: FolderInUse.self) { try late.claim() }
        #expect(throws: FolderInUse.self) { try late.create(config(["training.seed=2"]), job: "rotate") }
        #expect(try check() == .finished)
    }
}
