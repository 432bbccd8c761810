package import Support

extension Checkpoint {
    /// SHA-256 over the names, types, shapes and bytes of all tensors, in the order of their names: the same however the
    /// tensors are divided into files. Hexadecimal.
    package func digest() throws(FileError) -> String {
        var hash = SHA256()
        for name in names {
            let info = try info(name)
            hash.update(Array("\(name) \(info.type.rawValue) \(info.shape)\n".utf8))
            let file = try file(of: name)
            // Groups of rows of about 16 MiB, so that no tensor is held whole.
            let rows = max(1, info.shape.first ?? 1)
            let rowBytes = max(1, info.byteRange.count / rows)
            let step = max(1, (16 << 20) / rowBytes)
            if info.shape.isEmpty {
                hash.update(try file.readBytes(name))
                continue
            }
            for first in stride(from: 0, to: info.shape[0], by: step) {
                hash.update(try file.readBytes(name, rows: first..<min(first + step, info.shape[0])))
            }
        }
        return hexadecimal(hash.finalize())
    }
}
