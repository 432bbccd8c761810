internal import Configuration
internal import Support

extension RunFolder {
    /// How far a run has come, as its folder tells.
    package struct Place: Equatable, CustomStringConvertible {
        let checkpoint: String?
        /// Lines of metrics.jsonl.
        let steps: Int
        /// What is kept of layers: decompositions, drafts, digits.
        let layers: Int

        package var description: String {
            steps > 0 ? "step \(steps)" : layers > 0 ? "\(layers) results of layers" : "before the first step"
        }
    }

    /// Counts what is in a folder, damaged or not; nothing where there is no folder.
    package static func place(_ folder: String) -> Place {
        let metrics = "\(folder)/metrics.jsonl"
        let bytes = PathKind(metrics) == .file ? (try? InputFile.contents(of: metrics, limit: 1 << 30)) ?? [] : []
        let layers = countFiles("\(folder)/\(RunFiles.finishedLayers)")
        return Place(
            checkpoint: newestCheckpoint(folder), steps: bytes.count { $0 == UInt8(ascii: "\n") }, layers: layers)
    }

    /// Files in a folder and in its folders.
    private static func countFiles(_ folder: String) -> Int {
        ((try? entries(ofFolder: folder)) ?? []).reduce(0) {
            let path = "\(folder)/\($1)"
            return $0 + (PathKind(path) == .folder ? countFiles(path) : 1)
        }
    }
}
