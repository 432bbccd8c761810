/// A key pair on disk, and the public keys of those it talks to. A line for each:
///
///     public KEY     of the pair
///     secret KEY     of the pair
///     peer KEY       of another: a monitor that may watch a run, or the run that a monitor watches
///
/// Keys are 40 characters of Z85. Lines that begin with # and empty ones mean nothing.
package struct KeyFile: Sendable {
    package let keys: CurveKeys
    package let peers: [String]

    /// - Parameter name: how an error names the file.
    package init(_ text: String, name: String) throws(BusError) {
        var (publicKey, secretKey, peers): (String?, String?, [String]) = (nil, nil, [])
        for (number, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let words = line.split { $0 == " " || $0 == "\t" }.map(String.init)
            guard let word = words.first, !word.hasPrefix("#") else { continue }
            let place = "\(name), line \(number + 1)"
            guard words.count == 2, CurveKeys.decode(words[1]) != nil else {
                throw .unsuitable(setting: place, rule: "expected public, secret or peer, and a key of 40 characters in Z85")
            }
            switch word {
            case "public" where publicKey == nil: publicKey = words[1]
            case "secret" where secretKey == nil: secretKey = words[1]
            case "peer": peers.append(words[1])
            default: throw .unsuitable(setting: place, rule: "expected peer, or public or secret once")
            }
        }
        guard let publicKey, let secretKey else {
            throw .unsuitable(
                setting: name, rule: "a line public and a line secret are needed; sq-train watch --new-key makes them")
        }
        keys = CurveKeys(publicKey: publicKey, secretKey: secretKey)
        self.peers = peers
    }

    /// A file with these keys and without peers.
    package static func text(_ keys: CurveKeys) -> String {
        """
        # A key of sq-train. Keep this file to yourself; tell others the public key only, and add theirs as lines `peer KEY`.
        public \(keys.publicKey)
        secret \(keys.secretKey)

        """
    }
}
