import Configuration
import Foundation
import Support
import TestSupport
import Testing

@testable import Jobs

/// Layers of a run without checkpoints are kept until its summary exists.
@Suite struct KeptLayersTests {
    /// Inodes of the files in `decomposition/`, by path. A layer that is made again is another file.
    private func files(_ folder: String) throws -> [String: UInt64] {
        let names = (FileManager.default.subpaths(atPath: folder) ?? []).filter { PathKind("\(folder)/\($0)") == .file }
        return try Dictionary(
            uniqueKeysWithValues: names.map { name in
                let attributes = try FileManager.default.attributesOfItem(atPath: "\(folder)/\(name)")
                return (name, (attributes[.systemFileNumber] as? UInt64) ?? 0)
            })
    }

    /// The run dies last of all, when it puts its summary where a folder is.
    @Test(arguments: [ModelJob.ptq, .quantize])
    func `a run that was killed after model was written makes no layer again`(_ kind: ModelJob) throws {
        let folder = try TemporaryFolder()
        let job: any Job = kind == .ptq ? PtqJob() : QuantizeJob()
        let settings =
            kind == .ptq
            ? ["ternary.tolerance=0.3"] : ["quantization.weights.method=gptq", "quantization.weights.bits=4"]
        let (obstacle, kept) = (folder.file("a/summary.json"), folder.file("a/decomposition"))
        var isWritten = false
        #expect(throws: (any Error).self) {
            _ = try summary(of: job, in: folder, "a", settings) { note in
                guard note.contains("a/model: ") else { return }
                isWritten = true
                try? makeFolder(obstacle)
            }
        }
        #expect(isWritten)
        let before = try files(kept)
        #expect(!before.isEmpty)
        try removeTree(obstacle)

        var after: [String: UInt64] = [:]
        let resumed = try summary(of: job, in: folder, "a", settings) { note in
            if note.contains("a/model: ") { after = (try? files(kept)) ?? [:] }
        }
        #expect(after == before && PathKind(kept) == .absent)
        let whole = try summary(of: job, in: folder, "b", settings)
        #expect(resumed["rows"]?.array?.last?["perplexity"] == whole["rows"]?.array?.last?["perplexity"])
    }
}
