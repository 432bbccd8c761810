internal import Support

/// The fixed part of every message on the bus: what it is, of whom, and what its payload must hash to.
///
/// Layout, little-endian, 84 bytes:
///
///     0 magic "SQTB"   4 version u16   6 type u8     7 codec u8     8 attempt u32   12 layer u32   16 step u64
///     24 owner u32     28 zero u32     32 sequence u64   40 payload bytes u64   48 SHA-256 of the payload
///     80 CRC-32C of bytes 0..<80
struct FrameHeader: Equatable {
    static let size = 84
    static let version: UInt16 = 1
    private static let magic = Array("SQTB".utf8)

    enum Kind: UInt8 {
        /// A layer's new factors.
        case transition = 1
        /// The owner has published all its transitions of the step.
        case end = 2
        /// Rank 0: all ranks have applied the step and agree.
        case commit = 3
        /// Set-up: does this publisher reach me?
        case probe = 4
        /// Set-up: does the control connection work, in both directions?
        case hello = 5
        /// Asks the owner for the layers listed in the payload (u32 each).
        case request = 6
        /// Asks an owner for layers to compute for it: how many at most (payload, u32). The sequence numbers a rank's claims.
        case claim = 7
        /// Answers the claim of this sequence number: the layers in the payload (u32 each), or none.
        case grant = 8
        /// A granted layer's new factors, to its owner alone.
        case result = 9
    }

    var kind: Kind
    var codec: UInt8 = 0
    var attempt: UInt32
    var layer: UInt32 = 0
    var step: UInt64 = 0
    /// The rank that sends.
    var owner: UInt32
    /// Position in the owner's stream of frames: a gap shows a loss. Replays keep the number of their original. Of claims and
    /// their answers a number of the claimant's own.
    var sequence: UInt64 = 0
    var byteCount: UInt64 = 0
    var digest: Digest = sha256([])

    var encoded: [UInt8] {
        var bytes = Self.magic
        bytes.reserveCapacity(Self.size)
        bytes.append(littleEndian: Self.version)
        bytes += [kind.rawValue, codec]
        bytes.append(littleEndian: attempt)
        bytes.append(littleEndian: layer)
        bytes.append(littleEndian: step)
        bytes.append(littleEndian: owner)
        bytes.append(littleEndian: UInt32(0))
        bytes.append(littleEndian: sequence)
        bytes.append(littleEndian: byteCount)
        bytes += digest
        bytes.append(littleEndian: CRC32C.checksum(bytes))
        return bytes
    }

    /// nil where a rule of the layout is broken.
    init?(decoding bytes: [UInt8]) {
        guard bytes.count == Self.size, Array(bytes[0..<4]) == Self.magic else { return nil }
        guard bytes.littleEndian(at: 80, UInt32.self) == CRC32C.checksum(bytes[..<80]) else { return nil }
        guard bytes.littleEndian(at: 4, UInt16.self) == Self.version, let kind = Kind(rawValue: bytes[6]) else { return nil }
        guard bytes.littleEndian(at: 28, UInt32.self) == 0 else { return nil }
        self.kind = kind
        codec = bytes[7]
        attempt = bytes.littleEndian(at: 8)
        layer = bytes.littleEndian(at: 12)
        step = bytes.littleEndian(at: 16)
        owner = bytes.littleEndian(at: 24)
        sequence = bytes.littleEndian(at: 32)
        byteCount = bytes.littleEndian(at: 40)
        digest = Array(bytes[48..<80])
    }

    init(
        _ kind: Kind, attempt: UInt32, owner: Int, step: Int = 0, layer: Int = 0, codec: UInt8 = 0, sequence: UInt64 = 0,
        payload: [UInt8] = []
    ) {
        self.kind = kind
        self.codec = codec
        self.attempt = attempt
        self.layer = UInt32(layer)
        self.step = UInt64(step)
        self.owner = UInt32(owner)
        self.sequence = sequence
        byteCount = UInt64(payload.count)
        digest = sha256(payload)
    }
}
