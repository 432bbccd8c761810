/// Which program this is: in `--version`, in `summary.json`, and in the metadata or the provenance of what it writes.
package enum ProgramVersion {
    package static let text = "1.0.0"
    package static let name = "sq-train \(text)"
}
