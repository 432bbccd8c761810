import Foundation
import Support
import TestSupport
import Testing

/// The built `sq-train`, run as a user runs it.
struct Program {
    /// What came of a run.
    struct Outcome {
        let code: Int32
        let output: String
        let errors: String

        /// Whether mpirun has crashed itself while it ended ranks that abort, as that of Open MPI 4.1 now and then does. Then
        /// the code is none of the program's.
        var hasLostCode: Bool { errors.contains("PMIx_server_finalize") }

        /// The program's own lines on standard error; mpirun adds others.
        var errorLines: [String] {
            errors.split(separator: "\n").map(String.init).filter { $0.hasPrefix("sq-train: error:") }
        }
    }

    /// Beside the test bundle.
    static let path: String = {
        let bundle = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        return bundle.deletingLastPathComponent().appendingPathComponent("sq-train").path
    }()

    /// Seconds. A hang is a failure, not a wait: no command here needs a twentieth of it on a machine at rest. Where others
    /// compete for its cores, ranks that wait for each other in every step took fifty times as long.
    static let timeLimit = 600.0

    /// A run under way.
    final class Running {
        fileprivate let process = Process()
        fileprivate let streams: TemporaryFolder

        fileprivate init() throws { streams = try TemporaryFolder() }

        /// Of the program, or of mpirun.
        var identifier: pid_t { process.processIdentifier }
        var isRunning: Bool { process.isRunning }

        /// What has been printed so far.
        var output: String {
            get throws { String(decoding: try InputFile.contents(of: streams.file("output"), limit: 16 << 20), as: UTF8.self) }
        }

        /// Waits for the end, or ends it by force after a time.
        func wait() throws -> Outcome {
            let limit = Date() + Program.timeLimit
            while process.isRunning, Date() < limit { usleep(5000) }
            if process.isRunning {
                kill(process.processIdentifier, SIGKILL)
                Issue.record("\(process.arguments ?? []) hangs")
            }
            process.waitUntilExit()
            let errors = String(decoding: try InputFile.contents(of: streams.file("errors"), limit: 16 << 20), as: UTF8.self)
            let code = process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
            return Outcome(code: code, output: try output, errors: errors)
        }

        func send(_ signal: Int32) { kill(process.processIdentifier, signal) }
    }

    /// Starts the program; see ``run(_:in:ranks:environment:fileSizeLimit:)``.
    ///
    /// - Parameter limit: what `ulimit` is told before, such as `-v 400000`.
    static func start(
        _ arguments: [String], in folder: String, ranks: Int = 0, environment: [String: String?] = [:],
        fileSizeLimit: Int? = nil,
        limit: String? = nil
    ) throws -> Running {
        let mpirun = ["mpirun", "-n", String(ranks), "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none"]
        var variables = ProcessInfo.processInfo.environment
        let needed = [
            "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OPENBLAS_NUM_THREADS": "1",
            // mpirun need not wait a second before it ends ranks that are ending anyway.
            "OMPI_MCA_odls_base_sigkill_timeout": "0",
        ]
        variables.merge(needed) { $1 }
        for (name, value) in environment { variables[name] = value }
        let running = try Running()
        let process = running.process
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        let limit = (limit ?? fileSizeLimit.map { "-f \($0)" }).map { ["bash", "-c", "ulimit \($0); exec \"$@\"", "--"] } ?? []
        // As in a shell: a process inherits which signals are blocked, and Foundation's begin with most of them blocked.
        process.arguments = ["--default-signal"] + (ranks > 0 ? mpirun : []) + limit + [path] + arguments
        process.environment = variables
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        let names = ["output", "errors"].map(running.streams.file)
        for name in names { try AtomicFile.write("", to: name) }
        process.standardOutput = FileHandle(forWritingAtPath: names[0])
        process.standardError = FileHandle(forWritingAtPath: names[1])
        process.standardInput = FileHandle.nullDevice
        try process.run()
        return running
    }

    /// Runs the program to its end.
    ///
    /// - Parameters:
    ///   - folder: the working directory.
    ///   - ranks: 0 without mpirun.
    ///   - environment: variables to set; nil removes one.
    ///   - fileSizeLimit: KiB to which a file may grow, as on a disk that is full then.
    static func run(
        _ arguments: [String], in folder: String, ranks: Int = 0, environment: [String: String?] = [:],
        fileSizeLimit: Int? = nil
    ) throws -> Outcome {
        func outcome() throws -> Outcome {
            try start(arguments, in: folder, ranks: ranks, environment: environment, fileSizeLimit: fileSizeLimit).wait()
        }
        let first = try outcome()
        return ranks > 0 && first.hasLostCode ? try outcome() : first
    }

    /// Runs a script of bash, in which `"$0"` is the program: its path may hold spaces.
    static func shell(_ script: String, in folder: String) throws -> Outcome {
        let (shell, output, errors) = (Process(), Pipe(), try TemporaryFolder())
        try AtomicFile.write("", to: errors.file("errors"))
        shell.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        shell.arguments = ["--default-signal", "bash", "-c", script, path]
        shell.currentDirectoryURL = URL(fileURLWithPath: folder)
        shell.standardOutput = output
        shell.standardError = FileHandle(forWritingAtPath: errors.file("errors"))
        try shell.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        shell.waitUntilExit()
        return Outcome(
            code: shell.terminationStatus, output: text,
            errors: String(decoding: try InputFile.contents(of: errors.file("errors"), limit: 16 << 20), as: UTF8.self))
    }

    /// Runs with wrong input, and expects one error line, this exit code, and nothing written.
    ///
    /// - Parameter line: what a line before that one says; nil for none.
    static func expectRefusal(
        _ arguments: [String], in folder: String, ranks: Int, code: Int32, fragment: String, after line: String? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let before = try entries(ofFolder: folder)
        let outcome = try run(arguments, in: folder, ranks: ranks)
        let context = Comment(rawValue: "\(arguments), \(ranks) ranks: \(outcome.errors)")
        #expect(outcome.code == code, context, sourceLocation: sourceLocation)
        #expect(outcome.errorLines.count == 1, context, sourceLocation: sourceLocation)
        #expect(outcome.errorLines.first?.contains(fragment) == true, context, sourceLocation: sourceLocation)
        if ranks == 0 {
            // What is told of settings that only other jobs use does not count, but for the line itself.
            let lines = outcome.errors.split(separator: "\n").filter { text in
                !text.contains("has no effect here") || line.map { text.contains($0) } ?? false
            }
            #expect(lines.count == (line == nil ? 1 : 2), context, sourceLocation: sourceLocation)
            #expect(line.map { lines[0].contains($0) } ?? true, context, sourceLocation: sourceLocation)
        }
        #expect(try entries(ofFolder: folder) == before, "something was written", sourceLocation: sourceLocation)
    }
}
