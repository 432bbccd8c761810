import Foundation
import Support
import TestSupport
import Testing

@testable import Collectives

/// A process traces one thread at a time: these tests run one after the other.
@Suite(.serialized) struct TraceTests {
    @Test func `spans of the traced thread are kept, what lies inside first, and nothing else is`() throws {
        Trace.span(.forward, 7) {}
        Trace.begin(limit: 10)
        let sum = Trace.span(.step, 3) { Trace.span(.forward, 1) { 20 } + Trace.span(.backward, 1) { 22 } }
        let other = Thread { Trace.span(.cayley) {} }
        other.start()
        while !other.isFinished { usleep(1000) }
        let record = Trace.end()
        Trace.span(.forward, 8) {}
        #expect(sum == 42)
        #expect(record.spans.map(\.kind) == [.forward, .backward, .step] && record.spans.map(\.number) == [1, 1, 3])
        let (forward, backward, step) = (record.spans[0], record.spans[1], record.spans[2])
        #expect(step.begin <= forward.begin && forward.begin <= forward.end && forward.end <= backward.begin)
        #expect(backward.end <= step.end && record.dropped == 0)
        #expect(Trace.end().spans.isEmpty)
    }

    @Test func `a span that throws is kept, and its error goes on`() {
        Trace.begin(limit: 10)
        #expect(throws: StopRequested(signal: 2)) {
            try Trace.span(.wait) { () throws(StopRequested) in throw StopRequested(signal: 2) }
        }
        #expect(Trace.end().spans.map(\.kind) == [.wait])
    }

    @Test func `the first spans are kept without more memory, and the others are counted`() {
        Trace.begin(limit: 4)
        for number in 0..<9 { Trace.span(.forward, number) {} }
        let record = Trace.end()
        #expect(record.spans.map(\.number) == [0, 1, 2, 3] && record.dropped == 5)
    }

    @Test func `a trace is a JSON document with a named row and events in microseconds`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.json")
        let session = try TraceSession(path, over: LoopbackCommunicator())
        Trace.span(.step, 2) { Trace.span(.rotateWeights) { _ = usleep(2000) } }
        let result = try session.finish(title: "sq-train \"rotate\"", row: "rank 0")
        #expect(result.dropped == 0)
        let json = try InputFile.json(path)
        let events = try #require(json["traceEvents"]?.array)
        let names = events.filter { $0["name"]?.string == "thread_name" }.map { $0["args"]?["name"]?.string }
        #expect(names == ["rank 0"] && events[0]["args"]?["name"]?.string == "sq-train \"rotate\"")
        let spans = events.filter { $0["ph"]?.string == "X" && $0["name"]?.string != "all-gather" }
        #expect(spans.map { $0["name"]?.string } == ["step 2", "rotate weights"])
        #expect(spans.map { $0["cat"]?.string } == ["step", "compute"] && spans[1]["tid"]?.integer == 0)
        let times = spans.map { ($0["ts"]?.number ?? .nan, $0["dur"]?.number ?? .nan) }
        #expect(times[1].1 >= 2000 && times[0].1 >= times[1].1 && times[0].1 < 300e6 && times[0].0 >= 0)
        #expect(times[0].0 <= times[1].0 && times[1].0 + times[1].1 <= times[0].0 + times[0].1 + 0.002)
        #expect(json["otherData"]?["dropped_spans"]?.integer == 0)
        #expect(json["otherData"]?["program"]?.string == ProgramVersion.name)
        #expect(try entries(ofFolder: folder.path) == ["a.json"])
    }

    @Test func `every kind has a name and a category of its own or shared`() {
        let labels = Trace.Kind.allCases.map(\.label)
        #expect(Set(labels).count == labels.count && labels.allSatisfy { !$0.isEmpty })
        #expect(Trace.Kind.teacher.label == "teacher" && Trace.Kind.wait.category == "wait")
    }

    @Test func `where a trace cannot be written is said beforehand, and its run's folder need not be there yet`() throws {
        typealias Session = TraceSession<LoopbackCommunicator>
        let folder = try TemporaryFolder()
        let run = folder.file("run")
        #expect(throws: FileError.self) { try Session.check(folder.path, madeLater: run) }
        #expect(throws: FileError.self) { try Session.check(folder.file("none/a.json"), madeLater: run) }
        #expect(throws: FileError.self) { try Session.check(folder.file("run/sub/a.json"), madeLater: run) }
        try Session.check(folder.file("a.json"), madeLater: run)
        try Session.check(folder.file("run/a.json"), madeLater: run)
        try Session.check(folder.file("run/a.json"), madeLater: run + "/")
        #expect(throws: FileError.self) { try Session.check(run, madeLater: run + "/") }
        // Another timeline is replaced, nothing else.
        try AtomicFile.write("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[]}", to: folder.file("a.json"))
        try Session.check(folder.file("a.json"), madeLater: run)
        try AtomicFile.write("notes", to: folder.file("a.json"))
        #expect(throws: FileError.self) { try Session.check(folder.file("a.json"), madeLater: run) }
    }

    @Test func `a file that cannot be written ends in its error, and leaves what was there`() throws {
        let folder = try TemporaryFolder()
        let session = try TraceSession(folder.file("none/a.json"), over: LoopbackCommunicator())
        #expect(throws: AgreedError.self) { try session.finish(title: "t", row: "r") }
        #expect(Trace.end().spans.isEmpty)
    }

    @Test func `clocks that drift are corrected in proportion`() {
        let before = ClockOffsets(time: 1000, offsets: [0, 500])
        let after = ClockOffsets(time: 2000, offsets: [0, 700])
        #expect(before.offset(of: 1, at: 1500, until: after) == 500)
        #expect(before.offset(of: 1, at: 2000, until: after) == 600)
        #expect(before.offset(of: 1, at: 2500, until: after) == 700)
        #expect(before.offset(of: 0, at: 1700, until: after) == 0)
        #expect(before.offset(of: 1, at: 900, until: before) == 500)
    }

    @Test func `nanoseconds are written as microseconds with three digits`() {
        #expect(TraceDocument.microseconds(1_234_005) == "1234.005")
        #expect(TraceDocument.microseconds(-7) == "-0.007" && TraceDocument.microseconds(0) == "0.000")
    }
}
