internal import Configuration
internal import Support

/// The file `events.json` in a run's folder, which names the endpoint where the run can be watched. It exists while the run is
/// under way.
package enum RunEndpoint {
    static let fileName = "events.json"
    static func file(inRun folder: String) -> String { "\(folder)/\(fileName)" }

    static func write(_ endpoint: String, to file: String) throws {
        var object = JSONObject()
        object["endpoint"] = .string(endpoint)
        try AtomicFile.write(JSONValue.object(object.stamped).text(.compact, sortedKeys: false) + "\n", to: file)
    }

    /// The endpoint of the run in a folder.
    ///
    /// - Throws: `FileError` where the folder names no valid endpoint.
    package static func read(inRun folder: String) throws -> String {
        let file = file(inRun: folder)
        guard PathKind(file) != .absent else {
            let hasEnded = PathKind("\(folder)/\(RunFolder.summaryName)") != .absent
            throw FileError(
                .missing, folder,
                hasEnded
                    ? "the run here has ended; its results are in \(RunFolder.summaryName)"
                    : "no run is under way here that can be watched: there is no events.json (with events.endpoint=none there "
                        + "never is)"
            )
        }
        guard let endpoint = try InputFile.json(file)["endpoint"]?.string,
            EventEndpoint(settingText: endpoint)?.isAddress == true
        else {
            throw FileError(.malformed, file, "names no endpoint such as tcp://127.0.0.1:40123")
        }
        return endpoint
    }
}
