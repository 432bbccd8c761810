/// Which program this is: in `--version`, and in every file that it writes and whose format has a place for it.
package enum ProgramVersion {
    package static let text = "1.0.0"
    package static let name = "sq-train \(text)"
    /// What ``name`` is called in files.
    package static let key = "program"
    /// For formats whose metadata are texts by name.
    package static let metadata = [key: name]
}

extension JSONObject {
    /// The object with the program's name as its last member; one that has such a member keeps it.
    package var stamped: JSONObject {
        var result = self
        if result[ProgramVersion.key] == nil { result[ProgramVersion.key] = .string(ProgramVersion.name) }
        return result
    }
}
