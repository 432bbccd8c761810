internal import Support

/// What a message through relays begins with: what it is, of whom and for whom.
///
/// Layout, little-endian, 9 bytes: kind u8 (1 a frame for all, 2 a request, 3 an answer), from u32, to u32 (of a frame: its
/// owner).
struct Envelope: Equatable {
    enum Kind: UInt8 { case frame = 1, request, answer }

    var kind: Kind
    var from: Int
    var to: Int

    init(_ kind: Kind, from: Int, to: Int) { (self.kind, self.from, self.to) = (kind, from, to) }

    var encoded: [UInt8] {
        var bytes = [kind.rawValue]
        bytes.append(littleEndian: UInt32(from))
        bytes.append(littleEndian: UInt32(to))
        return bytes
    }

    /// nil where it is none.
    init?(decoding bytes: [UInt8]) {
        guard bytes.count == 9, let kind = Kind(rawValue: bytes[0]) else { return nil }
        self.init(kind, from: Int(bytes.littleEndian(at: 1, UInt32.self)), to: Int(bytes.littleEndian(at: 5, UInt32.self)))
    }
}
