internal import CKernels

/// Stored codes: two per byte where their range is less than 16, one per byte where it is less than 256, else as they are.
struct CompactCodes: Sendable {
    private enum Form {
        case halves([UInt8])
        case bytes([UInt8])
        case words([Int16])
    }

    let count: Int
    private let least: Int16
    private let form: Form

    init(_ codes: [Int16]) {
        let (least, most) = (codes.min() ?? 0, codes.max() ?? 0)
        (count, self.least) = (codes.count, least)
        switch Int(most) - Int(least) {
        case ..<16:
            form = .halves(
                [UInt8](unsafeUninitializedCapacity: (codes.count + 1) / 2) { buffer, count in
                    if let target = buffer.baseAddress { ck_pack_codes(codes, target, codes.count, least) }
                    count = (codes.count + 1) / 2
                })
        case ..<256: form = .bytes(codes.map { UInt8(truncatingIfNeeded: $0 &- least) })
        default: form = .words(codes)
        }
    }

    var byteCount: Int {
        switch form {
        case .halves(let bytes), .bytes(let bytes): bytes.count
        case .words(let words): 2 * words.count
        }
    }

    var all: [Int16] {
        if case .words(let words) = form { return words }
        return [Int16](unsafeUninitializedCapacity: count) { buffer, filled in
            if let target = buffer.baseAddress { copy(0..<count, to: target) }
            filled = count
        }
    }

    /// - Precondition: the first place is even.
    func copy(_ places: Range<Int>, to target: UnsafeMutablePointer<Int16>) {
        precondition(places.lowerBound % 2 == 0 && places.upperBound <= count, "codes \(places) of \(count)")
        switch form {
        case .halves(let bytes):
            bytes.withUnsafeBufferPointer { bytes in
                guard let source = bytes.baseAddress else { return }
                ck_unpack_codes(source + places.lowerBound / 2, target, places.count, least)
            }
        case .bytes(let bytes):
            bytes.withUnsafeBufferPointer { bytes in
                for (place, byte) in bytes[places].enumerated() { target[place] = Int16(byte) &+ least }
            }
        case .words(let words):
            words.withUnsafeBufferPointer { words in
                guard let source = words.baseAddress else { return }
                target.update(from: source + places.lowerBound, count: places.count)
            }
        }
    }
}
