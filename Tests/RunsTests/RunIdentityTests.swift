import Foundation
import Support
import TestSupport
import Testing

@testable import Configuration
@testable import Runs

/// Which runs are the same, whatever their settings look like.
@Suite struct RunIdentityTests {
    private let temporary: TemporaryFolder
    private let keys = ["model.path", "data.train.path", "data.eval.path"]

    init() throws {
        temporary = try TemporaryFolder()
        for name in ["a", "b"] { try AtomicFile.write("", to: temporary.file(name)) }
        try FileManager.default.createSymbolicLink(atPath: temporary.file("link"), withDestinationPath: temporary.file("a"))
    }

    private func config(_ assignments: [String]) throws -> RunConfig { try RunConfig(assignments: assignments) }

    private func identity(_ assignments: [String], data: String = "d") throws -> CheckpointManifest.Identity {
        .init(
            job: "train", worldSize: 1, model: "m", data: data,
            settings: try config(assignments).identifyingSettings(of: "train"))
    }

    @Test func `a path that is spelled in another way is the same, for checkpoints and for finished runs`() throws {
        let spellings = ["a", "./a", "link"].map(temporary.file)
        for key in keys {
            for spelling in spellings {
                let (old, new) = (["\(key)=\(spellings[0])"], ["\(key)=\(spelling)"])
                #expect(try identity(old).difference(from: identity(new), after: 1) == nil, "\(key) \(spelling)")
                #expect(try config(new).difference(from: config(old), of: "train", ignoring: { _ in false }) == nil)
                #expect(try config(new).identity(of: "train") == config(old).identity(of: "train"))
                #expect(try config(new).meaning == config(old).meaning)
            }
            let (own, other) = (["\(key)=\(spellings[0])"], ["\(key)=\(temporary.file("b"))"])
            let text = "\(key) was \(spellings[0]) and is \(temporary.file("b"))"
            #expect(try identity(own).difference(from: identity(other), after: 1) == text)
            #expect(try config(other).difference(from: config(own), of: "train", ignoring: { _ in false }) == text)
            #expect(try config(other).identity(of: "train") != config(own).identity(of: "train"))
        }
        // What is no path is compared as it is.
        #expect(try identity(["training.seed=1"]).difference(from: identity(["training.seed=2"]), after: 1) != nil)
        #expect(
            try identity(["data.eval.path=\(temporary.file("x"))"]).difference(
                from: identity(["data.eval.path=\(temporary.file("y"))"]), after: 1) != nil)
    }

    @Test func `other data may be in another file`() throws {
        let (old, new) = (keys.map { "\($0)=\(temporary.file("a"))" }, keys.map { "\($0)=\(temporary.file("b"))" })
        for index in [1, 2] {
            var changed = old
            changed[index] = new[index]
            let (before, now) = (try identity(old), try identity(changed, data: "e"))
            // Checkpoints hold scores on the text to evaluate on.
            guard keys[index] == "data.train.path" else {
                #expect(before.difference(from: now, after: 1, acceptsOtherData: true)?.hasPrefix(keys[index]) == true)
                continue
            }
            #expect(before.difference(from: now, after: 1)?.contains("--allow-other-data") == true)
            #expect(before.difference(from: now, after: 1, acceptsOtherData: true) == nil)
            #expect(try before.difference(from: identity(changed), after: 1)?.hasPrefix(keys[index]) == true)
        }
        let rest = try identity(old).difference(from: identity(new), after: 1, acceptsOtherData: true)
        #expect(rest?.hasPrefix("data.eval.path") == true)
    }

    @Test func `what earlier steps were taken with is told`() throws {
        var old = try identity(["training.steps=4", "data.train.path=a"])
        var new = try identity(["training.steps=6"], data: "e")
        (old.worldSize, new.worldSize) = (4, 2)
        let told = old.changes(to: new, after: 4)
        #expect(told.count == 3 && told[0] == "until step 4 the schedule was that of training.steps=4")
        #expect(told[1].hasSuffix(" \(try #require(old.data)) (a)") && told[2].contains("it ran on 4"))
        #expect(old.changes(to: old, after: 4).isEmpty)
        let drawn = try identity(["training.steps=4", "training.schedule=constant"], data: "sampled")
        let later = try identity(["training.steps=6"])
        #expect(drawn.changes(to: later, after: 4) == ["until step 4 it learned from what the model drew"])
    }

    @Test func `a text to evaluate on that has changed is refused, also where other data to learn from are accepted`() throws {
        var (old, new) = (try identity([]), try identity([]))
        (old.evaluation, new.evaluation) = ("a", "b")
        #expect(old.difference(from: new, after: 1, acceptsOtherData: true)?.contains("evaluate on has other content") == true)
        // Manifests of earlier versions do not have it.
        old.evaluation = nil
        #expect(old.difference(from: new, after: 1) == nil)
    }

    @Test func `an unfinished run may go on with other texts, and a finished one be extended, where that is asked for`() throws
    {
        let path = temporary.file("run")
        let before = ["training.steps=4", "data.train.path=\(temporary.file("a"))"]
        try RunFolder(path, run: "a", isWriter: true).create(config(before), job: "train")
        func check(_ file: String, _ steps: Int = 4, _ acceptsOtherData: Bool) throws -> FolderAdmission {
            try FolderAdmission.check(
                path, job: "train", config(["training.steps=\(steps)", "data.train.path=\(temporary.file(file))"]),
                resume: .auto, overwrites: false, acceptsOtherData: acceptsOtherData, comparesUnfinished: true)
        }
        #expect(try check("./a", 4, false) == .begins && check("b", 4, true) == .begins)
        #expect(throws: FolderOccupied.self) { try check("b", 4, false) }
        let checkpoints = CheckpointFolder(path: "\(path)/checkpoints")
        try checkpoints.begin(4)
        try checkpoints.commit(
            CheckpointManifest(identity: identity(before), step: 4, files: [:], record: .init()), keep: 9)
        try AtomicFile.write("{}", to: "\(path)/summary.json")
        #expect(try check("./a", 4, false) == .finished)
        #expect(try check("./a", 6, false) == .extends(from: 4) && check("b", 6, true) == .extends(from: 4))
        // Its results are those of the text that it has learned from.
        for (steps, accepts) in [(4, true), (6, false)] {
            #expect(throws: FolderOccupied.self) { try check("b", steps, accepts) }
        }
    }
}
