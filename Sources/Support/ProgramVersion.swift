/// Which program this is: in `--version` and in every file that it writes.
package enum ProgramVersion {
    package static let text = "1.0.0"
    package static let name = "sq-train \(text)"
}
