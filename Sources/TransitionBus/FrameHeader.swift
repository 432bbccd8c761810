internal import CKernels
internal import Support
package import TensorCore

/// A SHA-256 digest: 32 bytes.
package typealias Digest = [UInt8]

package enum Digests {
    /// SHA-256 of the bytes.
    package static func sha256(_ bytes: [UInt8]) -> Digest {
        Support.sha256(bytes)
    }

    /// A digest of tensors' elements as stored, for state that ranks compute alike: as fast as memory is read, so that every
    /// step can afford it. What strangers could forge is digested by ``sha256(_:)``.
    package static func state(_ tensors: [Tensor]) -> Digest {
        var lanes = [UInt64](repeating: 0, count: Int(CK_DIGEST_LANES))
        for tensor in tensors { ck_digest(tensor.pointer, tensor.count, &lanes) }
        return sha256(lanes.withUnsafeBytes { Array($0) })
    }
}

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
    }

    var kind: Kind
    var codec: UInt8 = 0
    var attempt: UInt32
    var layer: UInt32 = 0
    var step: UInt64 = 0
    /// The rank that sends.
    var owner: UInt32
    /// Position in the owner's stream of frames: a gap shows a loss. Replays keep the number of their original.
    var sequence: UInt64 = 0
    var byteCount: UInt64 = 0
    var digest: Digest = Digests.sha256([])

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
        digest = Digests.sha256(payload)
    }
}

/// CRC-32C (Castagnoli; reflected polynomial 0x82F63B78, initial value and final exclusive-or all ones).
enum CRC32C {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1 }
    }

    static func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
        ~bytes.reduce(~UInt32(0)) { crc, byte in crc >> 8 ^ table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)] }
    }
}

extension [UInt8] {
    mutating func append<Value: FixedWidthInteger>(littleEndian value: Value) {
        for shift in stride(from: 0, to: Value.bitWidth, by: 8) { append(UInt8(truncatingIfNeeded: value >> Value(shift))) }
    }

    /// The value at a byte offset. - Precondition: it lies inside.
    func littleEndian<Value: FixedWidthInteger>(at offset: Int, _: Value.Type = Value.self) -> Value {
        (0..<Value.bitWidth / 8).reduce(0) { $0 | Value(truncatingIfNeeded: self[offset + $1]) << Value(8 * $1) }
    }
}
