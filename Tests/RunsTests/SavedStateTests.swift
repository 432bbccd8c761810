import Foundation
import HuggingFace
import Support
import TensorCore
import TernarySVD
import TestSupport
import Testing

@testable import Runs

/// What ranks have saved is found again by ranks in any layout.
@Suite struct SavedStateTests {
    private let temporary: TemporaryFolder
    init() throws { temporary = try TemporaryFolder() }

    private func vector(_ count: Int, from first: Int = 0) -> Tensor {
        Tensor((0..<count).map { Float(first + $0) }, [count])
    }

    private func saved(_ states: [TrainingState]) throws -> TrainingState {
        let paths = states.indices.map { temporary.file("rank-\($0).safetensors") }
        for (state, path) in zip(states, paths) { try state.write(to: path) }
        return TrainingState(SavedFiles(paths, isOfOtherLayout: true))
    }

    private func common() -> TrainingState {
        var state = TrainingState()
        for size in [1, 5, 200, 1000] { state.tensors["w\(size)"] = vector(size) }
        state.ternary["u"] = PackedTernary(Tensor([1, 0, -1, 1, 1, 0], [2, 3]))
        state.stretches["m of w"] = .init(first: 3, of: vector(40), 10..<30)
        state.numbers["steps"] = 7
        return state
    }

    @Test(arguments: [1, 2, 3, 20]) func `ranks with the same state save all of it once, and any finds all`(_ ranks: Int) throws
    {
        let shares = (0..<ranks).map { common().share(of: $0, among: ranks) }
        for name in ["w1", "w5", "w200", "w1000"] { #expect(shares.count { $0.tensors[name] != nil } == 1) }
        #expect(shares.count { $0.ternary["u"] != nil } == 1 && shares.count { $0.stretches["m of w"] != nil } == 1)
        let state = try saved(shares)
        for size in [1, 5, 200, 1000] { #expect(try state.tensor("w\(size)", [size]).elements == vector(size).elements) }
        #expect(try state.ternary("u").unpacked.elements == [1, 0, -1, 1, 1, 0])
        #expect(try state.number("steps") == 7)
        #expect(try state.optionalTensor("w2") == nil && state.optionalNumber("w") == nil)
        #expect(throws: CheckpointError.lacks("w2")) { try state.tensor("w2", [2]) }
    }

    /// As slices of 0..<100 of three ranks, one of them saved by two stages.
    @Test func `elements of a vector come from whichever ranks have them, and none is made up`() throws {
        let states = [0..<30, 20..<60, 60..<100].map { range in
            var state = TrainingState()
            state.stretches["m"] = .init(first: range.lowerBound, of: vector(100), range)
            state.ownsStretches = true
            return state.share(of: 1, among: 2)
        }
        let all = try saved(states)
        for range in [0..<100, 25..<70, 59..<61, 99..<100, 4..<4] {
            var found = [Float](repeating: -1, count: range.count + 1)
            try found.withUnsafeMutableBufferPointer { try all.read("m", range, into: #require($0.baseAddress)) }
            #expect(found.dropLast() == range.map(Float.init)[...] && found.last == -1)
        }
        let two = try saved([states[0], states[2]])
        var found = [Float](repeating: 0, count: 100)
        #expect(throws: CheckpointError.self) {
            try found.withUnsafeMutableBufferPointer { try two.read("m", 0..<100, into: #require($0.baseAddress)) }
        }
    }

    /// As if the manifest named the damaged file's digest.
    @Test func `damaged files of ranks are read or refused`() throws {
        let path = temporary.file("rank-0.safetensors")
        try common().write(to: path)
        let mutations = Mutations(seed: 85)
        let original = try InputFile.contents(of: path, limit: 1 << 20)
        let refused = try mutations.refusals(of: original, at: temporary.file("mutant")) { path in
            let files = SavedFiles([path], isOfOtherLayout: true)
            for name in ["w1", "w1000", "u"] { _ = try files.tensor(name) }
            _ = (try files.ternary("u"), try files.number("steps"))
            var found = [Float](repeating: 0, count: 20)
            try found.withUnsafeMutableBufferPointer { try files.read("m of w", 10..<30, into: #require($0.baseAddress)) }
        }
        #expect(refused > mutations.count / 4)
    }

    /// Of more dimensions, it would have a row's elements for each that is asked for.
    @Test(arguments: [[20, 2], [40, 1], [1, 40]]) func `a stretch that is no vector is damaged`(_ shape: [Int]) throws {
        let path = temporary.file("rank-0.safetensors")
        _ = try SafetensorsFile.write(
            [TensorSource("m", Tensor((0..<40).map(Float.init), shape))], to: path, metadata: ["format": TrainingState.format])
        let files = SavedFiles([path], isOfOtherLayout: false)
        var found = [Float](repeating: -1, count: 40)
        let error = #expect(throws: CheckpointError.self) {
            try found.withUnsafeMutableBufferPointer { try files.read("m", 0..<2, into: #require($0.baseAddress)) }
        }
        #expect(error?.exitCode == .data && found.allSatisfy { $0 == -1 })
    }

    @Test func `a stretch that would end past all numbers is damaged`() throws {
        let path = temporary.file("rank-0.safetensors")
        for first in ["\(Int.max)", "\(Int.max - 38)", "-1", "9223372036854775808"] {
            _ = try SafetensorsFile.write(
                [TensorSource("m", vector(40))], to: path,
                metadata: ["format": TrainingState.format, TrainingState.firstKey("m"): first])
            let error = #expect(throws: CheckpointError.self) { try SavedFiles([path], isOfOtherLayout: false).tensor("m") }
            #expect(error?.exitCode == .data)
        }
    }

    @Test(arguments: [.nan, -1, 0.5, .infinity, 1e19, 0x1p54]) func `a number that is no count is damaged`(
        _ number: Double
    ) throws {
        var state = TrainingState()
        state.numbers["steps"] = number
        let read = try saved([state])
        #expect(try read.number("steps").bitPattern == number.bitPattern && read.optionalCount("none") == 0)
        let error = #expect(throws: CheckpointError.self) { try read.count("steps") }
        #expect(error?.exitCode == .data && error?.description.contains(temporary.path) == true)
        #expect(throws: CheckpointError.self) { try common().count("steps", atMost: 6) }
        #expect(try common().count("steps", atMost: 7) == 7)
    }

    @Test func `what is written is the state as it was taken, whatever the next step makes of it`() throws {
        var weights = vector(100_000)
        var moments = vector(100_000)
        var state = TrainingState()
        state.tensors["w"] = weights
        state.stretches["m"] = .init(first: 0, of: moments, 0..<100_000)
        let share = state.share(of: 0, among: 1)
        let path = temporary.file("rank-0.safetensors")
        let work = BackgroundWork { try share.write(to: path) }
        state = TrainingState()
        weights.fill(-1)
        moments.fill(-1)
        let entry = try work.wait()
        #expect(try InputFile(path).sha256() == entry.sha256)
        let read = TrainingState(SavedFiles([path], isOfOtherLayout: false))
        #expect(try read.tensor("w", [100_000]).elements == vector(100_000).elements)
        #expect(try read.tensor("m", [100_000]).elements == vector(100_000).elements)
    }

    @Test func `an error of the writer is thrown where its end is waited for`() {
        let path = temporary.file("nowhere/rank-0.safetensors")
        let state = common()
        let work = BackgroundWork { try state.write(to: path) }
        let error = #expect(throws: FileError.self) { try work.wait() }
        #expect(error?.exitCode == .io && work.isDone)
    }
}
