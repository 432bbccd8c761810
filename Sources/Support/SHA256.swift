internal import CSodium

/// An incremental SHA-256 (FIPS 180-4), computed by libsodium, which every machine with libzmq has.
package struct SHA256 {
    private var state = crypto_hash_sha256_state()

    package init() { crypto_hash_sha256_init(&state) }

    /// Continues with further bytes.
    package mutating func update(_ bytes: [UInt8]) {
        _ = crypto_hash_sha256_update(&state, bytes, UInt64(bytes.count))
    }

    /// Continues with further bytes.
    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        _ = crypto_hash_sha256_update(&state, bytes.assumingMemoryBound(to: UInt8.self).baseAddress, UInt64(bytes.count))
    }

    /// The digest of all bytes so far.
    package func finalize() -> Digest {
        var (copy, digest) = (state, [UInt8](repeating: 0, count: 32))
        crypto_hash_sha256_final(&copy, &digest)
        return digest
    }
}

/// A SHA-256 digest: 32 bytes.
package typealias Digest = [UInt8]

/// SHA-256 of bytes.
package func sha256(_ bytes: [UInt8]) -> Digest {
    var hash = SHA256()
    hash.update(bytes)
    return hash.finalize()
}

/// SHA-256 of bytes, hexadecimal.
package func sha256(of bytes: [UInt8]) -> String { hexadecimal(sha256(bytes)) }

/// Two lowercase digits a byte.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.reduce(into: "") { $0 += String($1 >> 4, radix: 16) + String($1 & 15, radix: 16) }
}
