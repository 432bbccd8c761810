internal import Configuration
internal import Support

extension RunFolder {
    /// How far a run has come, as its folder tells; a sweep, as its runs' folders do.
    package struct Place: Equatable, CustomStringConvertible {
        let saved: [String]
        /// Folders of a sweep's runs that have begun.
        let runs: [String]
        /// Lines of metrics.jsonl.
        let steps: Int
        /// What is kept of layers: decompositions, drafts, digits.
        let layers: Int

        package var description: String {
            steps > 0 ? "step \(steps)" : layers > 0 ? "\(layers) results of layers" : "before the first step"
        }
    }

    /// What cannot be lost any more: the newest checkpoint, and of each run of a sweep its newest one and whether it has
    /// finished. A run that has only begun has saved nothing.
    package static func saved(_ folder: String) -> [String] {
        let own = newestCheckpoint(folder).map { [$0] } ?? []
        return own
            + runs(in: folder).compactMap { run in
                let (checkpoint, isFinished) = (newestCheckpoint(run), PathKind("\(run)/\(summaryName)") == .file)
                return checkpoint == nil && !isFinished ? nil : "\(run) \(checkpoint ?? "") \(isFinished)"
            }
    }

    /// Counts what is in a folder, damaged or not; nothing where there is no folder.
    package static func place(_ folder: String) -> Place {
        let runs = runs(in: folder)
        let folders = [folder] + runs
        let steps = folders.reduce(0) { $0 + countSteps("\($1)/\(metricsName)") }
        let layers = folders.reduce(0) { $0 + countFiles("\($1)/\(RunFiles.finishedLayers)") }
        return Place(saved: saved(folder), runs: runs, steps: steps, layers: layers)
    }

    /// The folders of a sweep's runs; none in another run's folder.
    private static func runs(in folder: String) -> [String] {
        ((try? entries(ofFolder: folder)) ?? []).map { "\(folder)/\($0)" }.filter {
            PathKind("\($0)/\(RunRecord.fileName)") == .file
        }
    }

    private static func countSteps(_ metrics: String) -> Int {
        let bytes = PathKind(metrics) == .file ? (try? InputFile.contents(of: metrics, limit: 1 << 30)) ?? [] : []
        return bytes.count { $0 == UInt8(ascii: "\n") }
    }

    /// Files in a folder and in its folders.
    private static func countFiles(_ folder: String) -> Int {
        ((try? entries(ofFolder: folder)) ?? []).reduce(0) {
            let path = "\(folder)/\($1)"
            return $0 + (PathKind(path) == .folder ? countFiles(path) : 1)
        }
    }
}
