import Foundation
import Support
import TestSupport
import Testing

extension CommandLineTests {
    /// `sq-train launch` with a stand-in for mpirun, which notes its arguments and fails as it is told.
    @Suite struct Launch {
        private let folder: TemporaryFolder
        /// - Parameters:
        ///   - codes: exit codes of the runs, one after the other; the last one stays.
        ///   - run: the folder in which each of them leaves a checkpoint.
        private func launch(
            _ arguments: [String], codes: String, savingIn run: String = "nowhere", environment: [String: String] = [:]
        ) throws -> (outcome: Program.Outcome, calls: [String]) {
            let script = """
                #!/bin/sh
                echo "$@" >> calls
                set -- CODES
                n=$(wc -l < calls)
                mkdir -p RUN/checkpoints
                echo step-$n > RUN/checkpoints/LATEST
                [ $n -le $# ] || n=$#
                shift $((n - 1))
                exit $1

                """
            try AtomicFile.write(script.replacing("CODES", with: codes).replacing("RUN", with: run), to: folder.file("mpirun"))
            chmod(folder.file("mpirun"), 0o755)
            let path = folder.path + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
            let outcome = try Program.run(
                ["launch"] + arguments, in: folder.path, environment: environment.merging(["PATH": path]) { $1 })
            let calls = String(decoding: try InputFile.contents(of: folder.file("calls"), limit: 1 << 20), as: UTF8.self)
            return (outcome, calls.split(separator: "\n").map(String.init))
        }

        init() throws { folder = try TemporaryFolder() }

        /// As after a node of four has failed in a job that goes on without it; another goes before the third attempt.
        @Test(arguments: [true, false]) func `in a Slurm job that has lost nodes, launch starts fewer ranks where it may`(
            _ mayRelayout: Bool
        ) throws {
            let variables = ["SLURM_JOB_ID": "5", "SLURM_JOB_NUM_NODES": "4", "SLURM_TASKS_PER_NODE": "2(x4)"]
            let squeue = "#!/bin/sh\n[ $(wc -l < calls) -lt 2 ] && echo '3 n[1-3]' || echo '2 n[1,3]'\n"
            try AtomicFile.write(squeue, to: folder.file("squeue"))
            chmod(folder.file("squeue"), 0o755)
            let flags = mayRelayout ? ["--allow-relayout"] : []
            let (outcome, calls) = try launch(
                ["-n", "8", "--max-restarts", "3"] + flags, codes: "137 137 137 0", environment: variables)
            #expect(outcome.code == 0)
            let ranks = calls.map { $0.split(separator: " ").drop { $0 != "-n" }.dropFirst().first ?? "" }
            #expect(ranks == (mayRelayout ? ["8", "6", "4", "4"] : ["8", "8", "8", "8"]))
            #expect(outcome.errors.contains("3 nodes left (n[1-3]): 6 ranks instead of 8") == mayRelayout)
        }

        /// A node more is lost each time that Slurm is asked.
        @Test func `the hint names the command that was run, with the ranks' own options`() throws {
            let squeue = "#!/bin/sh\necho >> asked\nn=$((4 - $(wc -l < asked)))\necho \"$n n[1-$n]\"\n"
            try AtomicFile.write(squeue, to: folder.file("squeue"))
            chmod(folder.file("squeue"), 0o755)
            let (outcome, calls) = try launch(
                ["-n", "8", "--max-restarts", "1", "--allow-relayout", "eval", "-q", "x y"], codes: "137 1",
                environment: ["SLURM_JOB_ID": "5", "SLURM_JOB_NUM_NODES": "4", "SLURM_TASKS_PER_NODE": "2(x4)"])
            #expect(outcome.code == 1 && calls.count == 2)
            let hint = outcome.errors.split(separator: "to see the reason, run ").last ?? ""
            #expect(hint.contains(" -n 6 ") && hint.hasSuffix("eval -q 'x y'\n"), "\(outcome.errors)")
            #expect(outcome.errors.split(separator: "ranks instead of 8").count == 2, "\(outcome.errors)")
            #expect(!hint.contains("mpirun -q"))
        }

        @Test func `mpirun gets the ranks, this program and the arguments as they are`() throws {
            let (outcome, calls) = try launch(["-n", "3", "rotate", "--set", "a=b", "--out", "x"], codes: "0")
            #expect(outcome.code == 0)
            #expect(calls.count == 1)
            #expect(calls.first?.contains("-n 3 --map-by :OVERSUBSCRIBE --bind-to none") == true)
            #expect(calls.first?.hasSuffix("/sq-train rotate --set a=b --out x") == true)
            let (_, again) = try launch(["-n", "2", "--", "eval", "--", "x"], codes: "0 0")
            #expect(again.last?.hasSuffix("/sq-train eval -- x") == true, "\(again)")
        }

        @Test(arguments: ["9223372036854775807", "-3", "0"]) func `a number of nodes that cannot be is none`(_ nodes: String)
            throws
        {
            let (outcome, calls) = try launch(["-n", "3"], codes: "0", environment: ["SLURM_JOB_NUM_NODES": nodes])
            #expect(outcome.code == 0 && calls.count == 1, "\(outcome)")
        }

        @Test(arguments: [([], "rotate"), (["eval"], "eval"), (["sweep", "a.yaml"], "sweep")])
        func `the folder of all attempts is named after the command`(_ command: [String], _ name: String) throws {
            try AtomicFile.write("#!/bin/sh\necho $SQ_TRAIN_RUN_FOLDER\n", to: folder.file("mpirun"))
            chmod(folder.file("mpirun"), 0o755)
            let path = folder.path + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
            let outcome = try Program.run(
                ["launch", "-n", "2", "--max-restarts", "1"] + command, in: folder.path, environment: ["PATH": path])
            #expect(outcome.output.hasPrefix("runs/\(name)-"), "\(outcome)")
        }

        /// 128 ranks have a core each at most on any machine that runs this.
        @Test(arguments: [(nil, nil, "1"), ("3", nil, "3"), (nil, "3", ""), ("", nil, "1")])
        func `ranks get their share of the cores, and not all that launch itself would take; a number given stays`(
            given: String?, openMP: String?, expected: String
        ) throws {
            try AtomicFile.write("#!/bin/sh\necho threads $OPENBLAS_NUM_THREADS\n", to: folder.file("mpirun"))
            chmod(folder.file("mpirun"), 0o755)
            let path = folder.path + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
            let outcome = try Program.run(
                ["launch", "-n", "128"], in: folder.path,
                environment: ["PATH": path, "OPENBLAS_NUM_THREADS": given, "OMP_NUM_THREADS": openMP])
            #expect(outcome.output == "threads\(expected.isEmpty ? "" : " ")\(expected)\n", "\(outcome.errors)")
        }

        /// mpirun passes only its own variables on to other nodes, and ranks that differ in these do not compute alike.
        @Test func `ranks on all nodes find what launch has chosen, and the cores of a node are its own ranks'`() throws {
            try AtomicFile.write("#!/bin/sh\necho $OPENBLAS_NUM_THREADS $@\n", to: folder.file("mpirun"))
            chmod(folder.file("mpirun"), 0o755)
            try AtomicFile.write("# two hosts\na slots=4\nb\n", to: folder.file("hosts"))
            let path = folder.path + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
            func launched(ranks: Int, hosts: String?) throws -> [Substring] {
                let outcome = try Program.run(
                    ["launch", "-n", "\(ranks)"], in: folder.path,
                    environment: [
                        "PATH": path, "OPENBLAS_NUM_THREADS": nil, "OMP_NUM_THREADS": nil,
                        "OMPI_MCA_orte_default_hostfile": hosts, "OPENBLAS_CORETYPE": "Haswell",
                    ])
                return outcome.output.split(whereSeparator: \.isWhitespace)
            }
            let (one, two) = (try launched(ranks: 1, hosts: nil), try launched(ranks: 2, hosts: folder.file("hosts")))
            #expect(one.first == two.first && one.first != nil)
            for name in ["OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "SQ_TRAIN_ATTEMPT", "SQ_TRAIN_RUN", "SQ_TRAIN_STOP_CODE"]
            {
                #expect(zip(two, two.dropFirst()).contains { $0 == "-x" && $1 == name }, "\(two)")
            }
        }

        @Test(arguments: [0, 65, 78, 1]) func `without restarts the exit code is mpirun's`(_ code: Int32) throws {
            let (outcome, calls) = try launch(["-n", "2"], codes: String(code))
            #expect(outcome.code == code)
            #expect(calls.count == 1)
            // Of itself mpirun says nothing.
            #expect(outcome.errors.contains("to see the reason, run mpirun -") == (code == 1), "\(outcome.errors)")
        }

        @Test func `temporary failures are tried again, with a pause`() throws {
            let start = ContinuousClock.now
            let (outcome, calls) = try launch(["-n", "2", "--max-restarts", "3"], codes: "137 205 0")
            #expect(outcome.code == 0)
            #expect(calls.count == 3)
            // Pauses of 1 and 2 seconds.
            #expect(ContinuousClock.now - start >= .seconds(3))
        }

        @Test(arguments: [64, 65, 66, 70, 74, 77, 78]) func `failures that would come back are not tried again`(_ code: Int32)
            throws
        {
            let (outcome, calls) = try launch(["-n", "2", "--max-restarts", "3"], codes: "\(code) 0")
            #expect(outcome.code == code)
            #expect(calls.count == 1)
        }

        @Test func `that models differ is the answer of verify, and not tried again; a node that is lost is`() throws {
            let restarts = ["-n", "2", "--max-restarts", "3"]
            let differ = try launch(restarts + ["verify", "a", "b"], codes: "1 0")
            #expect(differ.outcome.code == 1 && differ.calls.count == 1 && !differ.outcome.errors.contains("why"))
            // The stand-in counts on: its second and third run.
            let lost = try launch(restarts + ["train"], codes: "_ 1 0")
            #expect(lost.outcome.code == 0 && lost.calls.count == 3)
        }

        /// As of a node that is being started again: mpirun cannot start its daemon there.
        @Test func `a host that cannot be reached is tried again after a restart, but not at first`() throws {
            let first = try launch(["-n", "2", "--max-restarts", "3"], codes: "255 0")
            #expect(first.outcome.code == 255 && first.calls.count == 1)
            #expect(first.outcome.errors.contains("cannot start ranks on all hosts"), "\(first.outcome.errors)")
            // The stand-in counts on: its second to fourth run.
            let later = try launch(["-n", "2", "--max-restarts", "3"], codes: "_ 137 255 0")
            #expect(later.outcome.code == 0 && later.calls.count == 4, "\(later.outcome)")
        }

        @Test func `a run that hangs twice at the same place is not started into it again`() throws {
            let (outcome, calls) = try launch(["-n", "2", "--max-restarts", "5", "--out", "run"], codes: "75 137 75 75 0")
            #expect(outcome.code == 75)
            #expect(
                calls.count == 4 && outcome.errors.contains("twice at the same place (before the first step)"),
                "\(outcome.errors)")
        }

        @Test func `restarts end at their limit with the last exit code`() throws {
            let (outcome, calls) = try launch(["-n", "2", "--max-restarts", "1"], codes: "137 75")
            #expect(outcome.code == 75)
            #expect(calls.count == 2)
        }

        @Test(arguments: [["--out", "run"], ["--set", "out=run"], ["rotate", "--config", "run.yaml"]])
        func `a run that has saved itself since may be started again as often, wherever its folder is named`(
            _ arguments: [String]
        ) throws {
            try AtomicFile.write("out: run\n", to: folder.file("run.yaml"))
            let (outcome, calls) = try launch(
                ["-n", "2", "--max-restarts", "1"] + arguments, codes: "137 137 137 0", savingIn: "run")
            #expect(outcome.code == 0)
            #expect(calls.count == 4)
        }

        @Test func `a sweep is started again as often as its runs save themselves`() throws {
            try FileManager.default.createDirectory(atPath: folder.file("run/a"), withIntermediateDirectories: true)
            try AtomicFile.write("{}", to: folder.file("run/a/run.json"))
            let (outcome, calls) = try launch(
                ["-n", "2", "--max-restarts", "1", "sweep", "grid.yaml", "--out", "run"], codes: "137 137 137 0",
                savingIn: "run/a")
            #expect(outcome.code == 0 && calls.count == 4, "\(outcome.errors)")
        }

        @Test func `ranks read standard input where the command does, once`() throws {
            try AtomicFile.write("#!/bin/sh\ncat\n", to: folder.file("mpirun"))
            chmod(folder.file("mpirun"), 0o755)
            func launched(_ arguments: String) throws -> Program.Outcome {
                try Program.shell("echo word | PATH=.:$PATH \"$0\" launch -n 2 \(arguments)", in: folder.path)
            }
            #expect(try launched("generate").output == "word\n")
            #expect(try launched("generate --prompt x").output.isEmpty)
            #expect(try launched("eval").output.isEmpty)
            let again = try launched("--max-restarts 1 generate")
            #expect(again.code == 64 && again.errors.contains("--prompt"), "\(again.errors)")
        }

        @Test func `without mpirun there is one clear line`() throws {
            let outcome = try Program.run(["launch", "-n", "2"], in: folder.path, environment: ["PATH": folder.path])
            #expect(outcome.code == 66)
            #expect(outcome.errors.contains("install openmpi-bin"))
        }
    }
}
