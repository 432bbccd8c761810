internal import ArgumentParser
internal import Collectives
internal import Glibc
internal import Runs
internal import Support

/// The program: joins the MPI job it was started in, if any, runs the command on all ranks, and ends all with one exit code.
@main
enum Main {
    static func main() {
        // A signal that comes while the program starts anew waits for its second start.
        SignalPipe.block(StopRequest.signals)
        ProcessEnvironment.prepare()
        StopRequest.listen(agreedCode: ProcessEnvironment.stopCode, supervisor: ProcessEnvironment.supervisor)
        let communicator: any Communicator
        do {
            communicator = try MPIEnvironment.start()
            try StopRequest.introduce(to: communicator)
        } catch {
            report(AgreedError(error))
            exit(AgreedError(error).exitCode.rawValue)
        }
        var code = run(Array(CommandLine.arguments.dropFirst()), on: communicator)
        if code == 0, let failure = Console.outputFailure {
            report(AgreedError(failure))
            code = failure.exitCode.rawValue
        }
        do {
            try MPIEnvironment.finish()
        } catch {
            report(AgreedError(error))
            exit(AgreedError(error).exitCode.rawValue)
        }
        exit(code)
    }

    /// The exit code, the same on all ranks. An error that only some ranks have does not return: it ends the job.
    private static func run(_ arguments: [String], on communicator: some Communicator) -> Int32 {
        do {
            try ProcessEnvironment.requireKernels()
            try ProcessEnvironment.requireThreadNumber()
            try ProcessEnvironment.requireAttempt()
            try ProcessEnvironment.requireTexts()
            try SQTrain.checkCommand(arguments)
            let command = try SQTrain.parseAsRoot(arguments)
            if let command = command as? any RankCommand {
                try command.run(on: communicator)
            } else if !(command is any SingleCommand) || communicator.isRoot {
                var command = command
                try command.run()
            }
            return 0
        } catch let stop as StopRequested {
            StopRequest.sayAdvice()
            return StopRequest.ownExitCode(of: stop.signal)
        } catch let error as AgreedError {
            if communicator.isRoot { report(error) }
            return error.exitCode.rawValue
        } catch let error as any ReportableError {
            return end(AgreedError(error), communicator)
        } catch {
            return answer(error, communicator)
        }
    }

    /// Ends the job for an error the other ranks may not have: they may wait for this one.
    private static func end(_ error: AgreedError, _ communicator: some Communicator) -> Int32 {
        if communicator.size > 1 {
            // Most errors hit all ranks at once; the one line is then rank 0's, at whose word mpirun asks the others to end.
            if !communicator.isRoot { usleep(300_000) }
            if communicator.isRoot || StopRequest.signal != SIGTERM { report(error) }
            communicator.abort(error.exitCode)
        }
        report(error)
        return error.exitCode.rawValue
    }

    private static func report(_ error: AgreedError) { Console.printError("error: \(error.description)") }

    /// What the parser of the command line has thrown, the same on every rank: help that was asked for, what is wrong with the
    /// command line, or an exit code. Anything else is an error of the job.
    private static func answer(_ error: any Error, _ communicator: some Communicator) -> Int32 {
        let code = SQTrain.exitCode(for: error)
        if error is ArgumentParser.ExitCode { return code.rawValue }
        if code.isSuccess {
            if communicator.isRoot { Console.printOutput(SQTrain.fullMessage(for: error) + "\n") }
        } else if code == .validationFailure {
            // The parser lists the values of an option on lines of their own.
            let problem = SQTrain.message(for: error).split(whereSeparator: \.isNewline).joined(separator: " ").singleLine
            if communicator.isRoot { Console.printError("error: \(problem) (see sq-train --help)") }
        } else {
            return end(AgreedError(error), communicator)
        }
        return code.rawValue
    }
}
