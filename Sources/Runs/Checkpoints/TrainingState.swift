internal import HuggingFace
internal import Support
package import TensorCore
package import TernarySVD

/// The state that a rank needs to resume between two steps as if it had never stopped.
///
/// Learning rate, order of the data and every random draw follow from the configuration and the step's number, so that only the
/// results of training are in here. Names say what a part belongs to, not which rank has it, so that ranks in any layout find
/// their parts again.
package struct TrainingState: Sendable {
    /// Which ranks have the same tensors.
    package enum Sharing: Sendable {
        /// The replicas of a stage.
        case stage
        case world
    }

    /// A contiguous part of a vector. Ranks may have different parts.
    package struct Stretch: Sendable {
        /// The index of its first element in the vector.
        package let first: Int
        private let source: Tensor
        private let range: Range<Int>

        /// - Parameter range: range of elements of `source`.
        package init(first: Int, of source: Tensor, _ range: Range<Int>) {
            (self.first, self.source, self.range) = (first, source, range)
        }

        var count: Int { range.count }
        var elements: Tensor { source.slice(range) }
        /// A copy in its own memory.
        var copied: Stretch { Stretch(first: first, of: elements, 0..<count) }
    }

    package var tensors: [String: Tensor] = [:]
    /// Matrices of −1, 0 and 1, which are packed in the file.
    package var ternary: [String: PackedTernary] = [:]
    /// Numbers, stored to the bit.
    package var numbers: [String: Double] = [:]
    package var stretches: [String: Stretch] = [:]
    /// Whether this rank has stretches that no other has.
    package var ownsStretches = false
    package var sharing = Sharing.stage
    /// Where parts that are not in memory are looked for.
    private var files: SavedFiles?

    package init() {}

    init(_ files: SavedFiles) { self.files = files }

    /// Whether ranks in another layout saved it.
    package var isOfOtherLayout: Bool { files?.isOfOtherLayout ?? false }

    /// Adds all of another state, which must have different names.
    package mutating func merge(_ other: TrainingState) {
        func unique<Value>(_: Value, _: Value) -> Value { preconditionFailure("a name of two states") }
        tensors.merge(other.tensors, uniquingKeysWith: unique)
        ternary.merge(other.ternary, uniquingKeysWith: unique)
        numbers.merge(other.numbers, uniquingKeysWith: unique)
        stretches.merge(other.stretches, uniquingKeysWith: unique)
        ownsStretches = ownsStretches || other.ownsStretches
    }

    /// The share of one of the ranks that have the same state, with parts of vectors copied: about equally much for each rank,
    /// and all numbers, which are few, for every rank.
    func share(of rank: Int, among ranks: Int) -> TrainingState {
        var sizes = tensors.mapValues(\.count)
        sizes.merge(ternary.mapValues { $0.rows * $0.columns / 16 }) { own, _ in own }
        if !ownsStretches { sizes.merge(stretches.mapValues(\.count)) { own, _ in own } }
        let largestFirst = sizes.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        let owners = GreedyDispatch.owners(sizes: largestFirst.map(\.value), ranks: ranks)
        let names = Set(zip(largestFirst, owners).lazy.filter { $1 == rank }.map { $0.0.key })
        var share = self
        share.tensors = tensors.filter { names.contains($0.key) }
        share.ternary = ternary.filter { names.contains($0.key) }
        share.stretches = stretches.filter { ownsStretches || names.contains($0.key) }.mapValues(\.copied)
        return share
    }
}

// MARK: - Looking up

/// All throw ``CheckpointError`` where the state lacks what this program needs (it was written by another version), or a file
/// cannot be read.
extension TrainingState {
    /// A tensor of this shape; one of another shape counts as missing.
    package func tensor(_ name: String, _ shape: [Int]) throws(CheckpointError) -> Tensor {
        guard let tensor = try optionalTensor(name) else { throw .lacks(name) }
        guard tensor.shape == shape else { throw .lacks("\(name) of shape \(shape)") }
        return tensor
    }

    /// nil where there is none.
    package func optionalTensor(_ name: String) throws(CheckpointError) -> Tensor? {
        if let tensor = tensors[name] { return tensor }
        return try files?.tensor(name)
    }

    /// A number, to the bit.
    package func number(_ name: String) throws(CheckpointError) -> Double {
        guard let number = try optionalNumber(name) else { throw .lacks(name) }
        return number
    }

    /// nil where there is none.
    package func optionalNumber(_ name: String) throws(CheckpointError) -> Double? {
        if let number = numbers[name] { return number }
        return try files?.number(name)
    }

    /// A number that counts something.
    ///
    /// - Parameter most: the largest accepted value; by default the largest integer that a number holds exactly.
    package func count(_ name: String, atMost most: Int = 1 << 53) throws(CheckpointError) -> Int {
        try asCount(number(name), name, atMost: most)
    }

    /// 0 where there is none.
    package func optionalCount(_ name: String) throws(CheckpointError) -> Int {
        try asCount(optionalNumber(name) ?? 0, name, atMost: 1 << 53)
    }

    private func asCount(_ number: Double, _ name: String, atMost most: Int) throws(CheckpointError) -> Int {
        guard let count = Int(exactly: number), (0...most).contains(count) else {
            throw .damaged(files?.folder ?? "the checkpoint", "\(name) is \(number), which is not a count")
        }
        return count
    }

    /// A matrix of −1, 0 and 1.
    package func ternary(_ name: String) throws(CheckpointError) -> PackedTernary {
        if let matrix = ternary[name] { return matrix }
        guard let factor = try files?.ternary(name) else { throw .lacks(name) }
        return factor
    }

    /// Fills memory with elements of a vector that was saved in parts.
    package func read(
        _ name: String, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
    ) throws(CheckpointError) {
        if let stretch = stretches[name] {
            let has = stretch.first..<stretch.first + stretch.count
            guard has.lowerBound <= range.lowerBound, range.upperBound <= has.upperBound else { throw .lacks(name) }
            target.update(from: stretch.elements.pointer + (range.lowerBound - has.lowerBound), count: range.count)
        } else {
            guard let files else { throw .lacks(name) }
            try files.read(name, range, into: target)
        }
    }
}

// MARK: - As a file

extension TrainingState {
    static let format = "sq-train.state"
    static let numberPrefix = "number "
    static func shapeKey(_ name: String) -> String { "shape of \(name)" }
    static func firstKey(_ name: String) -> String { "first of \(name)" }

    /// A safetensors file: tensors F32; stretches F32 with the place of their first element in the metadata; ternary matrices
    /// U8 (``PackedTernary/bytes``) with their shape in the metadata; numbers in the metadata as the hexadecimal pattern of
    /// their bits.
    @discardableResult
    func write(to path: String) throws -> CheckpointManifest.File {
        var metadata = ["format": Self.format].merging(ProgramVersion.metadata) { $1 }
        var sources = tensors.sorted { $0.key < $1.key }.map { TensorSource($0.key, $0.value) }
        for (name, stretch) in stretches.sorted(by: { $0.key < $1.key }) {
            metadata[Self.firstKey(name)] = String(stretch.first)
            sources.append(TensorSource(name, .f32, [stretch.count]) { .floats(stretch.elements) })
        }
        for (name, matrix) in ternary.sorted(by: { $0.key < $1.key }) {
            let bytes = matrix.bytes
            metadata[Self.shapeKey(name)] = "\(matrix.rows),\(matrix.columns)"
            sources.append(TensorSource(name, .u8, [bytes.count]) { .bytes(bytes) })
        }
        for (name, number) in numbers { metadata[Self.numberPrefix + name] = String(number.bitPattern, radix: 16) }
        let file = try SafetensorsFile.write(sources, to: path, metadata: metadata, hashes: true)
        guard let digest = file.digest else { preconditionFailure("the digest was asked for") }
        return CheckpointManifest.File(bytes: file.count, sha256: digest)
    }
}
