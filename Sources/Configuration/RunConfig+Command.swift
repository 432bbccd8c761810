extension RunConfig {
    /// Assignments `key.path=value` that give a job of this name this configuration again, but for its folder and its model.
    ///
    /// Those that differ from what the job makes of the others: some jobs have defaults of their own, or take some from a file
    /// that is given.
    package func assignments(job: String) -> [String] {
        let keys = descriptions.filter { !["out", "model.path"].contains($0.path) }
        var told: Set<String> = []
        while true {
            let given = keys.filter { told.contains($0.path) }
            let settings = Dictionary(
                uniqueKeysWithValues: given.map { ($0.path, GivenSetting(text: $0.value, place: "command")) })
            // What cannot be read any more is told whole.
            let values = (try? RunConfig(settings, job: job))?.values
            let missing = keys.filter { !told.contains($0.path) && values?[$0.path] != $0.value }
            guard !missing.isEmpty else { return given.map { "\($0.path)=\($0.value)" } }
            told.formUnion(missing.map(\.path))
        }
    }
}
