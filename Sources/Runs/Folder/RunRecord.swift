internal import Support

/// `run.json` in a run's folder: which job's run the folder holds. It is the first file a new run writes, in one piece.
struct RunRecord: Equatable {
    static let fileName = "run.json"

    var job: String
    /// The other files are an earlier run's and are being removed. A run that is killed then leaves this mark: none of them is
    /// taken for a result of `job`, and the next start removes what is left.
    var isReplacing = false

    init(job: String, isReplacing: Bool = false) { (self.job, self.isReplacing) = (job, isReplacing) }

    /// nil where there is none that says anything.
    ///
    /// - Throws: where the system cannot read it.
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
