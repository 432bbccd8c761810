internal import Support

/// `run.json` in a run's folder, which says which job's run the folder holds. It is the first file that a new run writes, as a
/// whole.
struct RunRecord: Equatable {
    static let fileName = "run.json"

    var job: String
    /// Whether the other files belong to an earlier run and are being removed. If the run is killed meanwhile, this mark stays:
    /// none of these files is taken for a result of `job`, and the next start removes the rest.
    var isReplacing = false

    init(job: String, isReplacing: Bool = false) { (self.job, self.isReplacing) = (job, isReplacing) }

    /// nil where there is no valid record.
    ///
    /// - Throws: where it cannot be read.
    init?(folder: String) throws(FileError) {
        let json: JSONValue
        do throws(FileError) {
            json = try InputFile.json("\(folder)/\(Self.fileName)", limit: 1 << 16)
        } catch {
            guard error.kind != .inputOutput else { throw error }
            return nil
        }
        guard let job = json["job"]?.string else { return nil }
        self.init(job: job, isReplacing: json["replacing"]?.bool ?? false)
    }

    func write(folder: String) throws(FileError) {
        var object = JSONObject()
        object["job"] = .string(job)
        object["replacing"] = .bool(isReplacing)
        try AtomicFile.write(
            JSONValue.object(object.stamped).text(.indented, sortedKeys: false) + "\n", to: "\(folder)/\(Self.fileName)")
    }
}
