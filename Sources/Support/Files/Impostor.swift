/// What a file that should be another is, by its first bytes: downloads that went wrong, and what to do about them.
package enum Impostor {
    /// Bytes of a file's beginning that are looked at.
    package static let prefix = 512

    /// - Returns: a sentence's end, such as "is an HTML page…"; nil if the file may be what it should be.
    package static func problem(_ beginning: some Collection<UInt8>) -> String? {
        let bytes = Array(beginning.prefix(prefix))
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { return "begins with a byte-order mark; save it as UTF-8 without one" }
        if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
            return "begins with the byte-order mark of UTF-16; save it as UTF-8"
        }
        if bytes.starts(with: "version https://git-lfs.github.com/".utf8) {
            return "is a Git LFS pointer, not the file it stands for; run git lfs pull in its folder"
        }
        let text = String(decoding: bytes.drop { $0 <= 0x20 }.prefix(64), as: UTF8.self).lowercased()
        if ["<!doctype", "<html", "<head", "<?xml", "<!--"].contains(where: text.hasPrefix) {
            return
                "is an HTML page, not the file it should be; download it again (a page comes where a link is wrong or needs "
                + "a login)"
        }
        if ["entry not found", "repository not found", "invalid username or password", "access to model"].contains(
            where: text.hasPrefix)
        {
            return "holds a server's error message; download it again"
        }
        if bytes.starts(with: [0x1F, 0x8B]) { return "is compressed by gzip; unpack it" }
        return nil
    }
}
