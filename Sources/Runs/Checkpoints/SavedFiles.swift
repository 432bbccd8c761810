internal import HuggingFace
internal import Support
internal import Synchronization
internal import TensorCore
internal import TernarySVD

/// The files of a checkpoint. Parts of a state are found by name, whichever rank has written them. A file is opened only when
/// earlier files lack what is looked for.
final class SavedFiles: Sendable {
    /// The contents of a file.
    private struct Contents {
        var tensors: [String: Part] = [:]
        var numbers: [String: Double] = [:]
    }
    private struct Part {
        /// The elements by their place in the vector that they are a part of; a whole tensor begins at 0.
        let elements: Range<Int>
        /// Whether it has one dimension, since only then a row is an element.
        let isVector: Bool
    }
    private struct State {
        var contents: [Int: Contents] = [:]
        var open: [Int: SafetensorsFile] = [:]
    }
    /// The most files that are kept open, since descriptors are limited.
    private static let mostOpen = 16

    /// Paths in the order in which files are searched.
    private let paths: [String]
    let isOfOtherLayout: Bool
    private let state = Mutex(State())

    init(_ paths: [String], isOfOtherLayout: Bool) { (self.paths, self.isOfOtherLayout) = (paths, isOfOtherLayout) }

    /// The whole tensor from the first file that has one of this name.
    func tensor(_ name: String) throws(CheckpointError) -> Tensor? {
        for index in paths.indices where try contents(index).tensors[name] != nil {
            let file = try file(index)
            return try reading { () throws(FileError) in try file.readFloat(name) }
        }
        return nil
    }

    func number(_ name: String) throws(CheckpointError) -> Double? {
        for index in paths.indices {
            if let number = try contents(index).numbers[name] { return number }
        }
        return nil
    }

    func ternary(_ name: String) throws(CheckpointError) -> PackedTernary? {
        for index in paths.indices where try contents(index).tensors[name] != nil {
            let file = try file(index)
            let extents = (file.metadata[TrainingState.shapeKey(name)] ?? "").split(separator: ",").compactMap { Int($0) }
            let bytes = try reading { () throws(FileError) in try file.readBytes(name) }
            guard extents.count == 2, extents.allSatisfy((0...Int(Int32.max)).contains),
                let matrix = PackedTernary(bytes: bytes, rows: extents[0], columns: extents[1])
            else { throw .damaged(file.path, "\(name) is not a ternary matrix") }
            return matrix
        }
        return nil
    }

    /// Fills memory with elements of a vector, each from the first file that has it.
    func read(_ name: String, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>) throws(CheckpointError) {
        var missing = range.isEmpty ? [] : [range]
        for index in paths.indices where !missing.isEmpty {
            guard let part = try contents(index).tensors[name] else { continue }
            guard part.isVector else { throw .damaged(paths[index], "\(name) is not a part of a vector") }
            let has = part.elements
            var still: [Range<Int>] = []
            for part in missing {
                let found = part.clamped(to: has)
                guard !found.isEmpty else {
                    still.append(part)
                    continue
                }
                let rows = found.lowerBound - has.lowerBound..<found.upperBound - has.lowerBound
                let file = try file(index)
                let elements = try reading { () throws(FileError) in try file.readFloat(name, rows: rows) }
                (target + (found.lowerBound - range.lowerBound)).update(from: elements.pointer, count: elements.count)
                still += [part.lowerBound..<found.lowerBound, found.upperBound..<part.upperBound].filter { !$0.isEmpty }
            }
            missing = still
        }
        guard missing.isEmpty else {
            throw .damaged(
                folder,
                "has no \(name), elements \(missing[0]); another version of this program has written it, or it is damaged")
        }
    }

    /// The checkpoint.
    var folder: String { parentDirectory(of: paths.first ?? "") }

    private func file(_ index: Int) throws(CheckpointError) -> SafetensorsFile {
        if let file = state.withLock({ $0.open[index] }) { return file }
        let path = paths[index]
        let file = try reading { () throws(FileError) in try SafetensorsFile(path) }
        state.withLock { state in
            if state.open.count >= Self.mostOpen { state.open.removeAll() }
            state.open[index] = file
        }
        return file
    }

    private func contents(_ index: Int) throws(CheckpointError) -> Contents {
        if let contents = state.withLock({ $0.contents[index] }) { return contents }
        let file = try file(index)
        guard file.metadata["format"] == TrainingState.format else { throw .damaged(file.path, "is not the state of a run") }
        var contents = Contents()
        for (name, info) in file.tensors {
            let first = file.metadata[TrainingState.firstKey(name)].map { Int($0) } ?? 0
            guard let first, first >= 0 else { throw .damaged(file.path, "\(name) has no first element") }
            let (end, isBeyond) = first.addingReportingOverflow(info.shape.reduce(1, *))
            guard !isBeyond else { throw .damaged(file.path, "\(name) begins at \(first)") }
            contents.tensors[name] = Part(elements: first..<end, isVector: info.shape.count == 1)
        }
        for (key, text) in file.metadata where key.hasPrefix(TrainingState.numberPrefix) {
            guard let bits = UInt64(text, radix: 16) else { throw .damaged(file.path, "\(key) is \(text)") }
            contents.numbers[String(key.dropFirst(TrainingState.numberPrefix.count))] = Double(bitPattern: bits)
        }
        let found = contents
        state.withLock { $0.contents[index] = found }
        return found
    }

    private func reading<Result>(_ body: () throws(FileError) -> Result) throws(CheckpointError) -> Result {
        do {
            return try body()
        } catch {
            throw .unreadable(error)
        }
    }
}
