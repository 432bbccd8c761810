/// The settings given on a command line. ``configuration(job:warn:)`` computes a run's settings from them.
package struct SettingsRequest: Sendable {
    /// A YAML file; nil for none.
    package var file: String?
    /// A run of a sweep, whose settings are over the file's; nil for none.
    package var run: SweepGrid.Run?
    /// `key.path=value`, over all others; of a key given twice the last one counts.
    package var assignments: [String]
    /// What is given instead of `model.path`: a model, or for `eval` a finished run whose table is to be made again.
    package var model: String?

    package init(file: String? = nil, assignments: [String] = [], model: String? = nil) {
        (self.file, self.assignments, self.model) = (file, assignments, model)
    }

    /// The settings of a job. What files of the job's inputs say (rotations, a compressed folder, a finished run) stands in the
    /// place of the defaults.
    ///
    /// - Parameters:
    ///   - job: the name of the job, or of the command.
    ///   - warn: gets a line for each key given by a name that it had before, and for each assignment to no effect.
    /// - Throws: ``ConfigurationError``; `FileError` where a file cannot be read.
    package func configuration(job: String = "", warn: (String) -> Void = { _ in }) throws -> RunConfig {
        func config(_ request: SettingsRequest) throws -> RunConfig {
            let given = try request.given()
            for source in try request.sources() { RunConfig.renamedKeys(source).forEach(warn) }
            let config = try RunConfig(given, job: job)
            config.idleKeys(given, job).forEach(warn)
            return config
        }
        guard let model else { return try config(self) }
        try checkModel(isNot: model)
        guard job == ModelJob.eval.rawValue, RunConfig.isRun(model) else {
            var request = self
            request.assignments.append("model.path=\(model)")
            return try config(request)
        }
        guard file == nil else {
            throw ConfigurationError(model, "is a run, which is scored with its own settings; leave --config out")
        }
        let run = try RunConfig.reproducing(run: model)
        // The run's own file may be an old one; what it says is not the user's to change.
        let own = SettingsRequest(assignments: assignments)
        for source in try own.sources() { RunConfig.renamedKeys(source).forEach(warn) }
        let (recorded, asked) = try (SettingsRequest(file: run.file, assignments: run.assignments).given(), own.given())
        try RunConfig.check(asked, over: recorded)
        let config = try RunConfig(recorded.merging(asked) { $1 }, job: job)
        config.idleKeys(asked, job).forEach(warn)
        return config
    }

    /// The run folder that is given, whatever else is; nil for none.
    ///
    /// - Throws: as ``configuration(job:warn:)``.
    package func out() throws -> String? { try RunConfig(given().filter { $0.key == "out" }).out }

    /// That no assignment names a model beside an argument.
    ///
    /// - Throws: ``ConfigurationError``.
    package func checkModel(isNot model: String) throws(ConfigurationError) {
        guard let other = assignments.first(where: { $0.hasPrefix("model.path=") }) else { return }
        throw ConfigurationError("\(Self.assignment)\(other)", "the model is given twice, here and as the argument \(model)")
    }

    /// Where an assignment stands.
    static let assignment = "--set "

    /// All settings, by the names that keys have now.
    func given() throws -> GivenSettings {
        try sources().reduce(into: [:]) { try $0.merge(RunConfig.renamed($1)) { $1 } }
    }

    /// What the file gives, what the sweep's run does, and what the assignments do.
    private func sources() throws -> [GivenSettings] {
        let document = try file.map { try ConfigurationDocument(file: $0).settings } ?? [:]
        var given: GivenSettings = [:]
        for assignment in assignments {
            let parts = assignment.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            let place = "\(Self.assignment)\(assignment.prefix(100))"
            guard parts.count == 2, !parts[0].isEmpty else { throw ConfigurationError(place, "expected key.path=value") }
            given[parts[0]] = GivenSetting(text: parts[1], place: place, isForJob: true)
        }
        return [document, run?.settings ?? [:], given]
    }
}
