internal import Configuration
internal import Support

extension RunFolder {
    /// How far a run has come, as its folder tells.
    package struct Place: Equatable, CustomStringConvertible {
        let checkpoint: String?
        /// Lines of metrics.jsonl.
        let steps: Int
        /// Layers decomposed and kept.
        let layers: Int

        package var description: String {
            steps > 0 ? "step \(steps)" : layers > 0 ? "\(layers) layers decomposed" : "before the first step"
        }
    }

    package static func place(_ folder: String) -> Place {
        let metrics = "\(folder)/metrics.jsonl"
        let bytes = PathKind(metrics) == .file ? (try? InputFile.contents(of: metrics, limit: 1 << 30)) ?? [] : []
        let layers = (try? entries(ofFolder: "\(folder)/\(RunFiles.finishedLayers)"))?.count ?? 0
        return Place(
            checkpoint: newestCheckpoint(folder), steps: bytes.count { $0 == UInt8(ascii: "\n") }, layers: layers)
    }
}
