/// Answers libzmq's question whether a peer's key may enter (ZAP, RFC 27): CURVE alone admits anyone who knows the server's
/// public key.
///
/// Lives in the context of the sockets it guards and must be bound before them; the thread that owns them serves it.
final class Authenticator {
    /// What a listed key is called: a rank's number, or `monitor`.
    private var names: [String: [[UInt8]: String]] = [:]
    let socket: ZeroMQSocket
    private(set) var admitted = 0
    private(set) var refused = 0
    /// The key refused last.
    private(set) var lastRefused: [UInt8]?

    init(_ context: ZeroMQContext) throws(ZeroMQError) {
        socket = try ZeroMQSocket(context, .reply, name: "the ZAP handler")
        _ = try socket.bind("inproc://zeromq.zap.01")
    }

    /// Lists a key (Z85) for a domain. - Throws: where it is no key.
    func allow(_ key: String, domain: String, as name: String) throws(BusError) {
        guard let bytes = CurveKeys.decode(key) else { throw .malformedKey(key) }
        names[domain, default: [:]][bytes] = name
    }

    /// Answers what is waiting.
    func serve() throws(ZeroMQError) {
        // Parts: version, request, domain, address, identity, mechanism, credentials.
        while let request = try socket.receive() {
            let parts = request.parts
            var name: String?
            if parts.count == 7, parts[0] == Array("1.0".utf8), parts[5] == Array("CURVE".utf8) {
                name = names[String(decoding: parts[2], as: UTF8.self)]?[parts[6]]
            }
            if name == nil {
                refused += 1
                lastRefused = parts.count == 7 ? parts[6] : nil
            } else {
                admitted += 1
            }
            let answer = ["1.0", nil, name == nil ? "400" : "200", name == nil ? "not listed" : "OK", name ?? "", ""]
            _ = try socket.send(answer.map { $0.map { Array($0.utf8) } ?? (parts.count > 1 ? parts[1] : []) })
        }
    }
}

/// What the sockets of one process share: libzmq's context and the ZAP handler. Used by one thread.
package final class MessagingContext {
    let context: ZeroMQContext
    let authenticator: Authenticator

    package init() throws(ZeroMQError) {
        context = try ZeroMQContext()
        authenticator = try Authenticator(context)
    }
}
