internal import ArgumentParser
internal import Collectives
internal import Configuration
internal import Glibc
internal import Runs
internal import TransitionBus

struct WatchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch",
        abstract: "Show a run that is under way.",
        discussion: """
            A run names its endpoint when it starts (events.endpoint), and in its folder while it lasts. On a terminal its \
            progress, metrics and layers are shown, elsewhere a line of JSON for each event. Ends when the run does.
            """)

    @Argument(help: ArgumentHelp("The run's folder, or its endpoint, such as tcp://127.0.0.1:40123.", valueName: "run"))
    var endpoint: String?

    @Option(help: ArgumentHelp("The monitor's key file, with the run's public key as its peer.", valueName: "file"))
    var keys: String?

    @Option(help: ArgumentHelp("How long to wait for a run that does not answer.", valueName: "seconds"))
    var timeout = 10

    @Option(help: ArgumentHelp("Make a key file, print its public key, and end.", valueName: "file"))
    var newKey: String?

    func validate() throws {
        guard (1...86_400).contains(timeout) else { throw ValidationError("--timeout takes 1 to 86400 seconds") }
        guard newKey == nil else {
            guard endpoint == nil, keys == nil else { throw ValidationError("--new-key goes with no other argument") }
            return
        }
        guard let endpoint else {
            throw ValidationError("the run's folder or its endpoint is missing, such as tcp://127.0.0.1:40123")
        }
        guard EventEndpoint(settingText: endpoint)?.isAddress == true || Self.isFolder(endpoint) else {
            throw ValidationError(
                "'\(endpoint)' is neither a folder nor an endpoint: expected tcp://ADDRESS:PORT, such as tcp://127.0.0.1:40123")
        }
    }

    private static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    func run() throws {
        guard MPIEnvironment.launch(MPIEnvironment.currentEnvironment()) == .alone else {
            throw ValidationError("watch runs as one process; start it without mpirun")
        }
        // It has nothing to save: signals end it as they end any program.
        StopRequest.release()
        if let newKey {
            Console.printOutput(try KeyFile.create(newKey) + "\n")
        } else if let endpoint {
            let folder = Self.isFolder(endpoint) ? endpoint : nil
            try RunWatch(
                folder.map(RunEndpoint.read(inRun:)) ?? endpoint, inRun: folder,
                keys: keys.map { try KeyFile(contentsOf: $0) }, timeout: .seconds(timeout)
            ).run()
        }
    }
}
