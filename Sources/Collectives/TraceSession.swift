internal import Glibc
internal import Support

/// A trace of all ranks of a job: one row a rank, in the Chrome trace event format, which chrome://tracing and Perfetto show.
package struct TraceSession<World: Communicator> {
    private let path: String
    private let world: World
    private let start: ClockOffsets
    private let limit: Int

    /// Spans of all ranks together: the file of as many has about half a gigabyte.
    private static var totalLimit: Int { 1 << 22 }
    private static var tag: Int { 0x7ace }

    /// Begins to trace the calling thread of every rank. Collective.
    package init(_ path: String, over world: World) throws(MPIError) {
        self.path = path
        self.world = world
        start = try ClockOffsets.measure(over: world)
        limit = min(Trace.defaultLimit, Self.totalLimit / world.size)
        Trace.begin(limit: limit)
    }

    /// Checks that the file can be written later, and replaces nothing but a timeline.
    ///
    /// - Parameter own: a folder that the job will make itself.
    /// - Throws: `FileError`.
    package static func check(_ path: String, madeLater own: String) throws {
        let folder = parentDirectory(of: path)
        switch PathKind(path) {
        case .absent where path.withoutEndingSlashes != own.withoutEndingSlashes: break
        case .file:
            let file = try InputFile(path)
            guard try file.size == 0 || file.begins(with: Array(TraceDocument.beginning.utf8)) else {
                throw FileError(
                    .inputOutput, path, "exists and is no timeline, so that it is not replaced; give --trace another name")
            }
        default: throw FileError(.inputOutput, path, "is not a file; give --trace the name of a file to write")
        }
        guard folder != own.withoutEndingSlashes else { return }
        guard PathKind(folder + "/.") == .folder else {
            throw FileError(.missing, folder, "there is no such folder; make it, or give --trace another path")
        }
        guard access(folder, W_OK) == 0 else {
            throw FileError(.inputOutput, folder, "--trace cannot write here: \(systemMessage(errno))")
        }
    }

    /// Ends the trace, and rank 0 writes what all have recorded, one rank after the other. Collective.
    ///
    /// - Parameters:
    ///   - title: of the timeline.
    ///   - row: what this rank's row is called.
    /// - Returns: the spans that a rank has room for, and how many more there were, over all ranks.
    /// - Throws: the `FileError` of rank 0, on all ranks.
    package func finish(title: String, row: String) throws -> (limit: Int, dropped: Int) {
        let record = Trace.end()
        let end = try ClockOffsets.measure(over: world)
        let dropped = Int(try world.allReduce(Int64(record.dropped), .sum))
        var failure: FileError?
        if world.isRoot {
            failure = try write(record, title: title, row: row, until: end, dropped: dropped)
        } else {
            try send(record, row: row)
        }
        try world.agree { if let failure { throw failure } }
        return (limit, dropped)
    }

    private func send(_ record: Trace.Record, row: String) throws(MPIError) {
        try world.send(Int64(record.spans.count), tag: Self.tag)
        try world.send(Int64(row.utf8.count), tag: Self.tag)
        try world.send(Array(row.utf8), to: 0, tag: Self.tag)
        try record.spans.withUnsafeBufferPointer { data throws(MPIError) in
            try world.send(UnsafeRawBufferPointer(data), to: 0, tag: Self.tag)
        }
    }

    /// - Returns: what has gone wrong with the file. What the others send is taken all the same: they wait.
    private func write(
        _ record: Trace.Record, title: String, row: String, until end: ClockOffsets, dropped: Int
    ) throws(MPIError) -> FileError? {
        var failure: FileError?
        var document: TraceDocument?
        func write(_ work: (TraceDocument) throws(FileError) -> Void) {
            guard failure == nil, let document else { return }
            do throws(FileError) { try work(document) } catch { failure = error }
        }
        do throws(FileError) { document = try TraceDocument(path, title: title) } catch { failure = error }
        for rank in 0..<world.size {
            let (name, spans) = rank == 0 ? (row, record.spans) : try received(from: rank)
            write { document throws(FileError) in
                try document.add(rank: rank, name: name, spans, origin: start.time) {
                    start.offset(of: rank, at: $0, until: end)
                }
            }
        }
        write { document throws(FileError) in try document.close(dropped: dropped) }
        return failure
    }

    private func received(from rank: Int) throws(MPIError) -> (name: String, spans: [Trace.Span]) {
        let count = Int(try world.receiveInteger(from: rank, tag: Self.tag))
        let length = Int(try world.receiveInteger(from: rank, tag: Self.tag))
        let name = String(decoding: try world.receive(bytes: length, from: rank, tag: Self.tag), as: UTF8.self)
        var spans = [Trace.Span](repeating: Trace.Span(.step, from: 0, to: 0), count: count)
        try spans.withUnsafeMutableBufferPointer { data throws(MPIError) in
            try world.receive(UnsafeMutableRawBufferPointer(data), from: rank, tag: Self.tag)
        }
        return (name, spans)
    }
}

extension Communicator {
    fileprivate func send(_ value: Int64, tag: Int) throws(MPIError) {
        try withUnsafeBytes(of: value) { data throws(MPIError) in try send(data, to: 0, tag: tag) }
    }

    fileprivate func receiveInteger(from rank: Int, tag: Int) throws(MPIError) -> Int64 {
        var value: Int64 = 0
        try withUnsafeMutableBytes(of: &value) { data throws(MPIError) in try receive(data, from: rank, tag: tag) }
        return value
    }
}
