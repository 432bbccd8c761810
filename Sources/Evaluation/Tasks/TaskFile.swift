package import Support

/// A task's items, read from a file with a JSON object a line.
package struct TaskFile: Sendable {
    package let task: any EvaluationTask.Type
    package let path: String
    /// What the results call it: the task's name, or with the file's where a task is run on several.
    package let label: String
    package let items: [TaskItem]
    /// Items that the file has, read or not.
    package let total: Int
    /// Of the file's bytes, hexadecimal.
    package let sha256: String

    /// The largest file accepted, in bytes.
    private static let limit = 1 << 30

    /// - Parameter most: items, from the beginning; nil for all.
    /// - Throws: ``FileError`` with the file and the line.
    package init(_ task: any EvaluationTask.Type, _ path: String, label: String, most: Int? = nil) throws(FileError) {
        (self.task, self.path, self.label) = (task, path, label)
        let bytes = try InputFile.contents(of: path, limit: Self.limit)
        sha256 = Support.sha256(of: bytes)
        var (items, total) = ([TaskItem](), 0)
        let lines = bytes.withoutByteOrderMark.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (number, line) in lines.enumerated() {
            guard line.contains(where: { !" \t\r".utf8.contains($0) }) else { continue }
            total += 1
            if let most, items.count >= most { continue }
            let place = "\(path):\(number + 1)"
            let value: JSONValue
            do throws(JSONError) {
                value = try JSONValue(parsing: Array(line))
            } catch {
                throw FileError(.malformed, place, "byte \(error.offset) of the line: \(error.problem)")
            }
            guard let object = value.object else { throw FileError(.malformed, place, "is not a JSON object") }
            items.append(try task.item(TaskLine(object, place)))
        }
        guard !items.isEmpty else {
            throw FileError(.malformed, path, "is empty; \(task.name) reads one JSON object per line, with \(task.fields)")
        }
        (self.items, self.total) = (items, total)
    }
}
