internal import Support

/// The file of a trace: a JSON object of the Chrome trace event format, an event a line.
///
/// Times are microseconds since the trace began, by rank 0's clock; `tid` is the rank. It is put in place when it is complete.
final class TraceDocument {
    private let file: AtomicFile

    /// Of every such file.
    static let beginning = #"{"displayTimeUnit":"ms","traceEvents":["#

    init(_ path: String, title: String) throws(FileError) {
        file = try AtomicFile(path)
        try file.write(Self.beginning.utf8)
        let name = JSONValue.string(title).text(.compact)
        try file.write("\n{\"ph\":\"M\",\"pid\":0,\"name\":\"process_name\",\"args\":{\"name\":\(name)}}".utf8)
    }

    /// A rank's row.
    ///
    /// - Parameters:
    ///   - origin: the time of the timeline's 0.
    ///   - offset: what the rank's clock showed more than rank 0's when it showed this.
    func add(
        rank: Int, name: String, _ spans: [Trace.Span], origin: UInt64, offset: (UInt64) -> Int64
    ) throws(FileError) {
        let head = "\"pid\":0,\"tid\":\(rank),"
        let name = JSONValue.string(name).text(.compact)
        try file.write(",\n{\"ph\":\"M\",\(head)\"name\":\"thread_name\",\"args\":{\"name\":\(name)}}".utf8)
        try file.write(",\n{\"ph\":\"M\",\(head)\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":\(rank)}}".utf8)
        // What contains others comes before them.
        for span in spans.sorted(by: { ($0.begin, $1.end) < ($1.begin, $0.end) }) {
            let begin = Int64(bitPattern: span.begin &- origin) - offset(span.begin)
            let kind = span.kind
            let number = span.number < 0 ? "" : " \(span.number)"
            try file.write(
                ",\n{\"ph\":\"X\",\(head)\"name\":\"\(kind.label)\(number)\",\"cat\":\"\(kind.category)\",\"ts\":".utf8)
            try file.write("\(Self.microseconds(begin)),\"dur\":\(Self.microseconds(Int64(span.end - span.begin)))}".utf8)
        }
    }

    func close(dropped: Int) throws(FileError) {
        var data = JSONObject()
        data["dropped_spans"] = .integer(dropped)
        try file.write("\n],\"otherData\":\(JSONValue.object(data.stamped).text(.compact))}\n".utf8)
        try file.commit()
    }

    /// Nanoseconds as a decimal number of microseconds.
    static func microseconds(_ nanoseconds: Int64) -> String {
        let (whole, rest) = nanoseconds.magnitude.quotientAndRemainder(dividingBy: 1000)
        let digits = String(rest)
        return (nanoseconds < 0 ? "-" : "") + "\(whole)." + String(repeating: "0", count: 3 - digits.count) + digits
    }
}
