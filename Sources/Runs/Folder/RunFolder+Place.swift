internal import Configuration
internal import Support

extension RunFolder {
    /// How far a run has come, according to its folder; for a sweep, according to its runs' folders.
    package struct Place: Equatable, CustomStringConvertible {
        let saved: [String]
        /// Folders of a sweep's runs that have begun.
        let runs: [String]
        /// Number of lines of metrics.jsonl.
        let steps: Int
        /// Number of files kept for layers: decompositions, drafts, digits.
        let layers: Int

        package var description: String {
            steps > 0 ? "step \(steps)" : layers > 0 ? "\(layers) results of layers" : "before the first step"
        }
    }

    /// Progress that cannot be lost: the newest checkpoint and, for each run of a sweep, its newest checkpoint and whether it
    /// has finished. A run that has only begun has saved nothing.
    package static func saved(_ folder: String) -> [String] {
        let own = newestCheckpoint(folder).map { [$0] } ?? []
        return own
            + runs(in: folder).compactMap { run in
                let (checkpoint, isFinished) = (newestCheckpoint(run), PathKind("\(run)/\(summaryName)") == .file)
                return checkpoint == nil && !isFinished ? nil : "\(run) \(checkpoint ?? "") \(isFinished)"
            }
    }

    /// Counts the contents of a folder, damaged or not; zeros where there is no folder.
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

    /// Number of files in a folder and its subfolders.
    private static func countFiles(_ folder: String) -> Int {
        ((try? entries(ofFolder: folder)) ?? []).reduce(0) {
            let path = "\(folder)/\($1)"
            return $0 + (PathKind(path) == .folder ? countFiles(path) : 1)
        }
    }
}
