import Foundation
import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// The scripts for Slurm, with stand-ins for srun and scontrol.
    @Suite struct BatchScripts {
        private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized
        static let scripts = ["rotate", "llama-3-8b-rotate-pp", "llama-3.2-1b-rotate-pp", "llama-7b-ternary-qat-dp-pp"]

        private let folder: TemporaryFolder

        init() throws {
            folder = try TemporaryFolder()
            try FileManager.default.createSymbolicLink(
                atPath: folder.file("launch"), withDestinationPath: Self.root.path + "/launch")
        }

        /// What the script has called, and its exit code.
        ///
        /// - Parameter run: what srun does in the run's folder, as a script.
        private func submit(
            _ script: String, _ arguments: [String], _ run: String
        ) throws -> (calls: [String], code: Int32) {
            let srun = "#!/bin/bash\necho srun \"$@\" >>calls\nout=${@: -1}\n\(run)\n"
            try AtomicFile.write(srun, to: folder.file("srun"))
            try AtomicFile.write("#!/bin/sh\necho scontrol \"$@\" >>calls\n", to: folder.file("scontrol"))
            for name in ["srun", "scontrol"] { chmod(folder.file(name), 0o755) }
            try removeTree(folder.file("runs"))
            try AtomicFile.write("", to: folder.file("calls"))
            let variables = "PATH=.:$PATH SLURM_JOB_NAME=n SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=2"
            let words = (script == "rotate" ? ["c.yaml"] : []) + arguments
            let outcome = try Program.shell(
                "\(variables) bash launch/\(script).sbatch \(words.joined(separator: " "))", in: folder.path)
            let calls = String(decoding: try InputFile.contents(of: folder.file("calls"), limit: 1 << 16), as: UTF8.self)
            return (calls.split(separator: "\n").map(String.init), outcome.code)
        }

        private static let begins = "mkdir -p $out && touch $out/run.json"

        @Test(arguments: scripts) func `a run that has begun and not ended is queued again, and no other`(
            _ script: String
        ) throws {
            let cut = try submit(script, ["--set", "a=b"], Self.begins)
            #expect(cut.code == 0 && cut.calls.count == 2 && cut.calls.last == "scontrol requeue 7", "\(cut)")
            #expect(cut.calls.first?.hasSuffix("--set a=b --out runs/n-7") == true)
            #expect(cut.calls.first?.hasPrefix("srun --mpi=pmix --cpus-per-task=2 --hint=nomultithread ") == true)
            let ended = try submit(script, [], Self.begins + "; touch $out/summary.json")
            #expect(ended.code == 0 && ended.calls.count == 1, "\(ended)")
            let printed = try submit(script, ["--print-config"], "")
            #expect(printed.code == 0 && printed.calls.count == 1, "\(printed)")
            let failed = try submit(script, [], Self.begins + "; exit 65")
            #expect(failed.code == 65 && failed.calls.count == 1, "\(failed)")
        }

        @Test(arguments: [["--out", "mine"], ["--out=mine"], ["--set", "out=mine"], ["--set=out=mine"]])
        func `another folder is refused, where it would never be known whether the run has ended`(_ words: [String]) throws {
            let outcome = try submit("rotate", words, Self.begins)
            #expect(outcome.code == 64 && outcome.calls.isEmpty, "\(outcome)")
        }
    }
}
