import Foundation
import Testing

extension CommandLineTests {
    /// What `ulimit` leaves, looked at before the work starts: too little is one line and 78, never a hang or a crash.
    @Suite struct Limits {
        private let model: ModelFolder
        init() throws { model = try ModelFolder() }

        private func run(_ limit: String, _ arguments: [String], environment: [String: String?] = [:]) throws -> Program.Outcome
        {
            try Program.start(arguments, in: model.path, environment: environment, limit: limit).wait()
        }

        private func expectOneLine(_ outcome: Program.Outcome, _ fragment: String) {
            #expect(outcome.code == 78, "\(outcome)")
            let lines = outcome.errors.split(separator: "\n").filter { !$0.hasPrefix("---") }
            #expect(lines.count == 1 && lines.first?.contains(fragment) == true, "\(outcome.errors)")
        }

        /// OpenBLAS asks for ever where its buffer cannot be had, and takes one for each thread.
        @Test(arguments: [150, 200, 350, 390]) func `a limit of addresses is kept before anything is read`(_ mebibytes: Int)
            throws
        {
            expectOneLine(
                try run("-v \(mebibytes << 10)", ["eval"] + model.arguments(), environment: ["OPENBLAS_NUM_THREADS": nil]),
                "ulimit -v")
        }

        /// Where every thread took addresses for an allocator of its own, it was a matter of luck what was left for OpenBLAS.
        @Test(arguments: [405, 425, 440, 460]) func `a limit just above the least is worked in, not waited in`(_ mebibytes: Int)
            throws
        {
            let outcome = try run(
                "-v \(mebibytes << 10)", ["eval"] + model.arguments(), environment: ["OPENBLAS_NUM_THREADS": "1"])
            #expect(outcome.code == 0, "\(outcome)")
        }

        @Test func `a limit that the job fits in does not stop it`() throws {
            let outcome = try run("-v \(640 << 10)", ["eval"] + model.arguments(), environment: ["OPENBLAS_NUM_THREADS": "64"])
            #expect(outcome.code == 0, "\(outcome)")
        }

        /// Room for three.
        @Test(arguments: ["parallel.threads=8", nil]) func `threads that there is no room for are not taken, which is said`(
            _ setting: String?
        ) throws {
            let settings = setting.map { ["--set", $0] } ?? []
            let outcome = try run(
                "-v \(700 << 10)", ["eval"] + model.arguments() + settings,
                environment: ["OPENBLAS_NUM_THREADS": setting == nil ? "64" : "1"])
            #expect(outcome.code == 0, "\(outcome)")
            #expect(outcome.output.contains("1 rank × 3 threads on"), "\(outcome.output)")
            #expect(outcome.output.contains("; ulimit -v (or -d) allows no more threads, raise it"), "\(outcome.output)")
        }

        @Test func `a number of threads in the environment that is none is refused, also where addresses are short`() throws {
            let wrong: [[String: String?]] = [
                ["OPENBLAS_NUM_THREADS": "abc"], ["OPENBLAS_NUM_THREADS": "-3"], ["OPENBLAS_NUM_THREADS": "0"],
                ["OPENBLAS_NUM_THREADS": "2x"], ["OPENBLAS_NUM_THREADS": nil, "OMP_NUM_THREADS": "two"],
                ["OPENBLAS_NUM_THREADS": "", "OMP_NUM_THREADS": ",2"],
            ]
            for environment in wrong {
                for limit in ["-v \(430 << 10)", "-n 1024"] {
                    expectOneLine(
                        try run(limit, ["--version"], environment: environment), "is not a number of threads: unset it")
                }
            }
            let right: [[String: String?]] = [
                ["OPENBLAS_NUM_THREADS": " 2 "], ["OPENBLAS_NUM_THREADS": "", "OMP_NUM_THREADS": ""],
                ["OPENBLAS_NUM_THREADS": nil, "OMP_NUM_THREADS": "2,1"],
            ]
            for environment in right {
                let outcome = try run("-n 1024", ["--version"], environment: environment)
                #expect(outcome.code == 0, "\(environment): \(outcome)")
            }
        }

        @Test(arguments: ["-3", "0", "two", "9223372036854775807"]) func `a number of an attempt that is none is refused`(
            _ number: String
        ) throws {
            let outcome = try run("-n 1024", ["--version"], environment: ["SQ_TRAIN_ATTEMPT": number])
            expectOneLine(outcome, "SQ_TRAIN_ATTEMPT: \"\(number)\" is not the number of an attempt")
        }

        @Test(arguments: [24, 32, 40]) func `launch starts no mpirun that would hang for lack of descriptors`(_ files: Int)
            throws
        {
            expectOneLine(try run("-n \(files)", ["launch", "-n", "4", "eval"] + model.arguments()), "ulimit -n 48")
        }

        @Test func `ranks that would run out of descriptors are refused before libzmq aborts`() throws {
            let outcome = try run(
                "-n 48", ["launch", "-n", "4", "--max-restarts", "2", "qat"] + model.arguments() + ["--out", "out"])
            expectOneLine(outcome, "bus.transport=mpi")
            #expect(!FileManager.default.fileExists(atPath: model.file("out")))
        }
    }
}
