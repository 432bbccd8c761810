internal import Support

/// Tokens and their ids.
///
/// Tokens are compared byte by byte: a vocabulary may hold both forms of "é".
struct Vocabulary: Sendable {
    /// One more than the largest id accepted; the largest vocabularies in use have a quarter of it.
    static let idLimit = 1 << 20

    /// The token of each id; nil where an id is not used.
    private(set) var tokens: [String?] = []
    private var ids: [UTF8Key: Int32] = [:]

    /// One more than the largest id.
    var size: Int { tokens.count }

    /// How many tokens there are.
    var count: Int { ids.count }

    subscript(token: String) -> Int32? { ids[UTF8Key(token)] }

    func token(_ id: Int32) -> String? { tokens.indices.contains(Int(id)) ? tokens[Int(id)] : nil }

    /// Adds a token. The same token with the same id again changes nothing.
    ///
    /// - Throws: the id is negative, huge or another token's; or the token has another id.
    mutating func insert(_ token: String, id: Int, at key: String) throws(TokenizerError) {
        guard (0..<Self.idLimit).contains(id) else {
            throw TokenizerError(key: key, problem: "the id \(id) is outside 0..<\(Self.idLimit)")
        }
        if let present = self[token] {
            guard Int(present) == id else {
                throw TokenizerError(key: key, problem: "\"\(token)\" has both the id \(present) and the id \(id)")
            }
            return
        }
        if id >= tokens.count { tokens += Array(repeating: nil, count: id + 1 - tokens.count) }
        if let other = tokens[id] {
            throw TokenizerError(key: key, problem: "the id \(id) is given to both \"\(other)\" and \"\(token)\"")
        }
        tokens[id] = token
        ids[UTF8Key(token)] = Int32(id)
    }
}
