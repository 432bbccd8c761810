internal import Configuration
internal import Runs
internal import Support

/// Whether and how a sweep's runs begin, found before anything runs. Nothing is changed.
struct SweepAdmission {
    /// The runs, each named after its folder.
    private(set) var grid: SweepGrid
    /// For a sweep that starts over, the folders whose contents are to be removed, with the jobs of their runs; otherwise nil.
    private(set) var cleared: [(name: String, job: String)]?
    /// The runs that have finished, by their numbers.
    private(set) var finished: [Int] = []

    /// Checks that every run's settings are known and usable by its job, that no two runs are the same, and that the folder is,
    /// or can become, that of this sweep.
    ///
    /// - Parameters:
    ///   - file: the grid's.
    ///   - overwrites: whether the sweep starts over.
    init(_ grid: SweepGrid, of file: String, _ request: JobRequest, _ place: SweepFolder, overwrites: Bool) throws {
        self.grid = grid
        try place.check(overwrites: overwrites)
        let runs = try zip(grid.runs, Self.configurations(grid, of: file, request)).map { (job: $0.job, config: $1) }
        let folders = try place.folders(of: runs)
        guard overwrites else {
            self.grid.place(in: folders)
            for (index, (job, config)) in runs.enumerated() {
                let path = "\(place.path)/\(self.grid.runs[index].name)"
                if PathKind(path) == .absent { continue }
                let admission = try FolderAdmission.check(
                    path, job: job, config, resume: request.resume, overwrites: false,
                    acceptsOtherData: request.acceptsOtherData, acceptsRelayout: request.acceptsRelayout,
                    comparesUnfinished: true)
                if admission == .finished { finished.append(index) }
            }
            return
        }
        // Under another name, a run's results would be taken for those of the new sweep when that is resumed.
        var cleared = grid.runs.map { (name: $0.name, job: $0.job) }
        let names = Set(cleared.map(\.name))
        for (folders, run) in zip(folders, runs) {
            for name in folders where !names.contains(name) { cleared.append((name, run.job)) }
        }
        let removed = try place.removed(runs: cleared.map(\.name))
        for (_, config) in runs { try place.checkInputs(of: config, outside: removed) }
        for (name, _) in cleared where RunFolder.isInUse("\(place.path)/\(name)") {
            throw FolderInUse(path: "\(place.path)/\(name)")
        }
        self.cleared = cleared
    }

    /// The settings of every run, with the files that are meant where they name run folders.
    private static func configurations(_ grid: SweepGrid, of file: String, _ request: JobRequest) throws -> [RunConfig] {
        var named: [String: String] = [:]
        return try grid.runs.map { run in
            guard let job = SweepJob.job(run.job) else {
                let names = ModelJob.allCases.map(\.rawValue).joined(separator: ", ")
                throw ConfigurationError(file, "'\(run.job.prefix(100))' is not a job of a sweep; expected one of \(names)")
            }
            let config = try request.settings.of(run, out: "auto").configuration(job: run.job)
            // Compares values, not texts: 0.3 and 0.30 are the same.
            if let earlier = named.updateValue(run.name, forKey: "\(run.job)\0\(config.meaning)") {
                throw ConfigurationError(
                    file, "\(run.name) is the same run as \(earlier); give them different values, or leave one out")
            }
            // The row would then not describe its run.
            if let (key, _) = run.varied.first(where: { (key, _) in
                request.settings.assignments.contains { $0.hasPrefix("\(key)=") }
            }) {
                throw ConfigurationError(key, "is varied by \(file), and given for all runs by --set; leave one out")
            }
            try type(of: job).checkSettings(config)
            return try config.resolvingRunFolders()
        }
    }
}

extension SettingsRequest {
    /// The settings of one of the runs that this request is for.
    func of(_ run: SweepGrid.Run, out: String) -> SettingsRequest {
        var settings = self
        settings.run = run
        settings.assignments = assignments.filter { !$0.hasPrefix("out=") } + ["out=\(out)"]
        return settings
    }
}
