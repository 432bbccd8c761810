import Support
import TestSupport
import Testing

@testable import Runs

@Suite struct ResumePolicyTests {
    @Test(arguments: [
        ("out", "out"), ("out/checkpoints", "out"), ("out/checkpoints/step-4", "out"), ("out/checkpoints/step-4/", "out"),
        ("checkpoints/step-4", "."), ("checkpoints", "."), ("/checkpoints/step-4", "/"), ("checkpoints/out", "checkpoints/out"),
        ("/data/checkpoints/out", "/data/checkpoints/out"),
        ("/data/checkpoints/out/checkpoints/step-4", "/data/checkpoints/out"),
        ("checkpoints/checkpoints/step-4", "checkpoints"), ("out/checkpoints/step-four", "out/checkpoints/step-four"),
    ])
    func `the run folder is what the checkpoints at a path's end are in`(_ path: String, _ folder: String) {
        #expect(ResumePolicy(path).runFolder == folder)
    }

    @Test func `a run's folder may have the name of checkpoints`() throws {
        let temporary = try TemporaryFolder()
        let path = temporary.file("checkpoints")
        try makeFolder(path)
        #expect(ResumePolicy(path).runFolder == temporary.path)
        try makeFolder("\(path)/checkpoints")
        #expect(ResumePolicy(path).runFolder == path)
        #expect(ResumePolicy("\(path)/").isFrom("\(temporary.path)/./checkpoints"))
        #expect(!ResumePolicy(path).isFrom(temporary.path) && !ResumePolicy.auto.isFrom(path))
    }

    @Test func `a file is no place to resume from`() throws {
        let temporary = try TemporaryFolder()
        let path = temporary.file("MANIFEST")
        try AtomicFile.write("{}", to: path)
        let error = #expect(throws: CheckpointError.self) { try ResumePolicy(path).checkPlace() }
        #expect(error?.exitCode == .noInput && error?.description.contains("is a file; --resume takes a run folder") == true)
        for other in [temporary.path, temporary.file("nowhere"), "auto", "never"] { try ResumePolicy(other).checkPlace() }
    }
}
