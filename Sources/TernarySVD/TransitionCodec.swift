internal import Support
internal import TensorCore

/// A layer's transition as bytes, in the smallest of three forms:
///
/// - scales (codec 0): U and V stay;
/// - changes (codec 1): a bit for each old component, set where it stays, and the new ones;
/// - whole (codec 2): all components.
///
/// Each form can include the row and column scales of a balanced layer, with its first components or where they were adjusted
/// to the weight.
///
/// Layout, little-endian: branch u8 (0 refresh, 1 prune, 2 full), balanced u8, refused u8 (1: a refresh in the place of an
/// adaptation that would have emptied the layer), zero u8, old number of components u32, new components k' u32, then what stays
/// (changes only, one bit per old component, lowest first, filled up to a byte), U' [m, k'] and V' [k', n], each as
/// ``PackedTernary/bytes`` (a mask, then as many signs as it has bits set), s as float32 (kept components, then new ones), and
/// a [m] and b [n] where balanced, positive.
///
/// A payload has everything needed to check it except the old number of components. The receiver compares that when it applies
/// the transition, since a payload for the next step can arrive before this step is applied.
package struct TransitionCodec {
    /// m×n.
    package let rows: Int, columns: Int

    package init(rows: Int, columns: Int) { (self.rows, self.columns) = (rows, columns) }

    /// The contents of a payload: only scales, changes of components, or all components.
    package enum Form: UInt8 { case scales, changes, whole }

    private static let headerBytes = 12

    /// The largest accepted payload. Components are limited to sixteen times the longer side, far more than any useful
    /// tolerance needs.
    package var limit: Int {
        let componentCount = 16 * max(rows, columns)
        return Self.headerBytes + componentCount * (1 + 4) + packedBytes(componentCount) + 4 * (rows + columns)
    }

    /// The most bytes of U and V with this many components.
    private func packedBytes(_ componentCount: Int) -> Int {
        PackedTernary.maximumBytes(rows: rows, columns: componentCount)
            + PackedTernary.maximumBytes(rows: componentCount, columns: columns)
    }

    // MARK: Writing

    /// - Parameter oldCount: components the layer had before.
    /// - Throws: ``TernaryError`` where the factors have outgrown ``limit``.
    package func encode(_ update: TransitionUpdate, oldCount: Int, name: String) throws(TernaryError) -> (
        form: Form, payload: [UInt8]
    ) {
        // If anything is kept, a mask is shorter than one column.
        let form: Form = update.branch == .refresh ? .scales : update.kept.isEmpty ? .whole : .changes
        let added = update.newV.shape[0]
        var bytes: [UInt8] = [update.branch.code, update.balance == nil ? 0 : 1, update.isRefusal ? 1 : 0, 0]
        bytes.append(littleEndian: UInt32(oldCount))
        bytes.append(littleEndian: UInt32(form == .scales ? 0 : added))
        if form == .changes {
            var mask = [UInt8](repeating: 0, count: (oldCount + 7) / 8)
            for component in update.kept { mask[component >> 3] |= 1 << UInt8(component & 7) }
            bytes += mask
        }
        if form != .scales { bytes += PackedTernary(update.newU).bytes + PackedTernary(update.newV).bytes }
        bytes.append(floats: update.s.elements)
        if let balance = update.balance {
            bytes.append(floats: balance.a)
            bytes.append(floats: balance.b)
        }
        guard bytes.count <= limit else {
            throw TernaryError(
                .configuration,
                "\(name) needs \(update.s.count) components, more than 16 times its longer side; raise ternary.tolerance")
        }
        return (form, bytes)
    }

    // MARK: Reading

    /// An error: a payload that breaks a rule of the layout.
    package struct Malformed: Error {
        package init() {}
    }

    /// The contents of a payload, with factors still packed.
    private struct Content {
        let branch: TransitionBranch, isRefusal: Bool
        let oldCount: Int, kept: [Int]
        /// nil where no component is new.
        let u: PackedTernary?, v: PackedTernary?
        let s: [Float], balance: Balance?
    }

    /// - Returns: the update, and how many components it expects the layer to have.
    /// - Throws: as ``check(_:_:)``.
    package func decode(_ codec: UInt8, _ payload: [UInt8]) throws(Malformed) -> (update: TransitionUpdate, oldCount: Int) {
        let content = try parse(codec, payload)
        let update = TransitionUpdate(
            branch: content.branch, kept: content.kept, newU: content.u?.unpacked ?? Tensor(zeros: [rows, 0]),
            newV: content.v?.unpacked ?? Tensor(zeros: [0, columns]), s: Tensor(content.s, [content.s.count]),
            balance: content.balance, isRefusal: content.isRefusal)
        return (update, content.oldCount)
    }

    /// Whether a payload can be decoded, without unpacking its factors.
    ///
    /// - Throws: ``Malformed``, also for signs that are not one for each non-zero and a scale that is not finite.
    package func check(_ codec: UInt8, _ payload: [UInt8]) throws(Malformed) { _ = try parse(codec, payload) }

    private func parse(_ codec: UInt8, _ payload: [UInt8]) throws(Malformed) -> Content {
        guard let form = Form(rawValue: codec), payload.count >= Self.headerBytes, payload.count <= limit else {
            throw Malformed()
        }
        var reader = ByteReader(payload)
        guard let branch = TransitionBranch(code: try reader.byte()) else { throw Malformed() }
        let balanced = try reader.byte()
        let refused = try reader.byte()
        guard balanced <= 1, refused <= (form == .scales ? 1 : 0), try reader.byte() == 0 else { throw Malformed() }
        guard (form == .scales) == (branch == .refresh) else { throw Malformed() }
        let (oldCount, added) = (try reader.count(), try reader.count())
        // Bounds every product below before anything of that size is allocated. Nothing is allocated for the old components
        // where all are new.
        guard form == .whole || oldCount <= payload.count * 8, added <= payload.count * 8, form != .scales || added == 0
        else { throw Malformed() }
        var kept: [Int] = []
        switch form {
        case .scales: kept = Array(0..<oldCount)
        case .changes:
            let mask = try reader.bytes((oldCount + 7) / 8)
            kept = (0..<mask.count * 8).filter { mask[$0 >> 3] >> UInt8($0 & 7) & 1 == 1 }
            guard kept.last.map({ $0 < oldCount }) ?? true else { throw Malformed() }
        case .whole: break
        }
        let u = form == .scales ? nil : try trits(&reader, rows, added)
        let v = form == .scales ? nil : try trits(&reader, added, columns)
        let s = try reader.floats(kept.count + added)
        let balance = balanced == 1 ? Balance(a: try reader.floats(rows), b: try reader.floats(columns)) : nil
        guard reader.isAtEnd, balance.map({ ($0.a + $0.b).allSatisfy { $0 > 0 } }) ?? true else { throw Malformed() }
        return Content(
            branch: branch, isRefusal: refused == 1, oldCount: oldCount, kept: kept, u: u, v: v, s: s, balance: balance)
    }

    private func trits(_ reader: inout ByteReader, _ rows: Int, _ columns: Int) throws(Malformed) -> PackedTernary {
        let mask = try reader.bytes(PackedTernary.maskBytes(rows: rows, columns: columns))
        let signs = try reader.bytes(PackedTernary.signBytes(mask: mask))
        guard let packed = PackedTernary(bytes: mask + signs, rows: rows, columns: columns) else { throw Malformed() }
        return packed
    }
}

extension TransitionBranch {
    fileprivate var code: UInt8 {
        switch self {
        case .refresh: 0
        case .prune: 1
        case .full: 2
        }
    }

    fileprivate init?(code: UInt8) {
        switch code {
        case 0: self = .refresh
        case 1: self = .prune
        case 2: self = .full
        default: return nil
        }
    }
}

/// Reads a payload from the front, and never past the end.
private struct ByteReader {
    private let payload: [UInt8]
    private var position = 0

    init(_ payload: [UInt8]) { self.payload = payload }

    var isAtEnd: Bool { position == payload.count }

    mutating func bytes(_ count: Int) throws(TransitionCodec.Malformed) -> [UInt8] {
        guard count <= payload.count - position else { throw TransitionCodec.Malformed() }
        defer { position += count }
        return Array(payload[position..<position + count])
    }

    mutating func byte() throws(TransitionCodec.Malformed) -> UInt8 { try bytes(1)[0] }

    mutating func count() throws(TransitionCodec.Malformed) -> Int {
        try bytes(4).enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
    }

    /// Finite numbers.
    mutating func floats(_ count: Int) throws(TransitionCodec.Malformed) -> [Float] {
        let raw = try bytes(4 * count)
        let result = (0..<count).map { i in
            Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(raw[4 * i + $1]) << UInt32(8 * $1) })
        }
        guard result.allSatisfy(\.isFinite) else { throw TransitionCodec.Malformed() }
        return result
    }
}
