internal import CZeroMQ
internal import Glibc

/// libzmq's state of one process part: sockets of one context can talk over `inproc`, and share one ZAP handler.
final class ZeroMQContext {
    fileprivate let handle: UnsafeMutableRawPointer

    init() throws(ZeroMQError) {
        guard let handle = zmq_ctx_new() else {
            throw ZeroMQError(operation: "zmq_ctx_new", subject: "context", code: zmq_errno())
        }
        self.handle = handle
        // Closing must never wait for a peer that does not read.
        try ZeroMQError.check("zmq_ctx_set", "ZMQ_BLOCKY", zmq_ctx_set(handle, ZMQ_BLOCKY, 0))
        // Two sockets per peer; the default of 1023 would end at 510 ranks.
        try ZeroMQError.check("zmq_ctx_set", "ZMQ_MAX_SOCKETS", zmq_ctx_set(handle, ZMQ_MAX_SOCKETS, 16_383))
    }

    /// Whoever waits for a socket of this context, on any thread, gets ``ZeroMQError/contextEnded``.
    func shutDown() { zmq_ctx_shutdown(handle) }

    /// Sockets hold their context, so none is open here, and ending it does not wait.
    deinit { while zmq_ctx_term(handle) == -1, zmq_errno() == EINTR {} }
}

/// A message of several parts, as received.
struct ZeroMQMessage {
    var parts: [[UInt8]]
    /// The sender's name from the ZAP handler; nil without authentication.
    var userID: String?
}

/// A socket, used by the thread that made it. Every return code is checked; nothing here waits except
/// ``poll(_:milliseconds:)``.
final class ZeroMQSocket {
    enum Kind: Int32 {
        case publisher, verbosePublisher, subscriber, router, dealer, reply, pair

        fileprivate var type: Int32 {
            switch self {
            case .publisher: ZMQ_PUB
            case .verbosePublisher: ZMQ_XPUB
            case .subscriber: ZMQ_SUB
            case .router: ZMQ_ROUTER
            case .dealer: ZMQ_DEALER
            case .reply: ZMQ_REP
            case .pair: ZMQ_PAIR
            }
        }
    }

    /// More parts than this are read and dropped: no message of ours has as many.
    private static let partLimit = 16

    private let context: ZeroMQContext
    fileprivate let handle: UnsafeMutableRawPointer
    /// Names the socket in errors.
    private(set) var name: String

    init(_ context: ZeroMQContext, _ kind: Kind, name: String) throws(ZeroMQError) {
        guard let handle = zmq_socket(context.handle, kind.type) else {
            throw ZeroMQError(operation: "zmq_socket", subject: name, code: zmq_errno())
        }
        (self.context, self.handle, self.name) = (context, handle, name)
        try set(ZMQ_LINGER, 0)
    }

    deinit { zmq_close(handle) }

    // MARK: Options

    func set(_ option: Int32, _ value: Int) throws(ZeroMQError) {
        var value = Int32(clamping: value)
        let size = MemoryLayout<Int32>.size
        try ZeroMQError.check("zmq_setsockopt", "option \(option) of \(name)", zmq_setsockopt(handle, option, &value, size))
    }

    func set(_ option: Int32, _ text: String) throws(ZeroMQError) {
        let bytes = Array(text.utf8)
        let code = zmq_setsockopt(handle, option, bytes, bytes.count)
        try ZeroMQError.check("zmq_setsockopt", "option \(option) of \(name)", code)
    }

    /// Bytes of one message part at most; a peer that announces more is disconnected.
    func setLargestMessage(_ bytes: Int) throws(ZeroMQError) {
        var value = Int64(bytes)
        let size = MemoryLayout<Int64>.size
        try ZeroMQError.check(
            "zmq_setsockopt", "ZMQ_MAXMSGSIZE of \(name)", zmq_setsockopt(handle, ZMQ_MAXMSGSIZE, &value, size))
    }

    // MARK: Connections

    /// Binds and returns the endpoint, with the port the system chose where `*` was given for it.
    func bind(_ endpoint: String) throws(ZeroMQError) -> String {
        try ZeroMQError.check("zmq_bind", endpoint, zmq_bind(handle, endpoint))
        var buffer = [CChar](repeating: 0, count: 1024)
        var size = buffer.count
        let code = zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, &buffer, &size)
        try ZeroMQError.check("zmq_getsockopt", "ZMQ_LAST_ENDPOINT of \(name)", code)
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func connect(_ endpoint: String) throws(ZeroMQError) {
        try ZeroMQError.check("zmq_connect", endpoint, zmq_connect(handle, endpoint))
    }

    /// Has libzmq report what becomes of the socket's connections, to a ``Kind/pair`` that connects to `endpoint` (inproc).
    func reportConnections(to endpoint: String) throws(ZeroMQError) {
        let events =
            ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
            | ZMQ_EVENT_DISCONNECTED
        try ZeroMQError.check("zmq_socket_monitor", name, zmq_socket_monitor(handle, endpoint, events))
    }

    // MARK: Messages

    /// What became of a message.
    enum Delivery { case queued, wouldBlock, unreachable }

    /// Queues all parts or none.
    func send(_ parts: [[UInt8]]) throws(ZeroMQError) -> Delivery {
        for (i, part) in parts.enumerated() {
            let flags = ZMQ_DONTWAIT | (i + 1 < parts.count ? ZMQ_SNDMORE : 0)
            var result = zmq_send(handle, part, part.count, flags)
            while result == -1, zmq_errno() == EINTR { result = zmq_send(handle, part, part.count, flags) }
            guard result == -1 else { continue }
            // Only the first part can be refused for lack of room or of a peer: the mark counts whole messages.
            if i == 0, zmq_errno() == EAGAIN { return .wouldBlock }
            if i == 0, zmq_errno() == EHOSTUNREACH { return .unreachable }
            try ZeroMQError.check("zmq_send", name, result)
        }
        return .queued
    }

    /// The next message, if one has arrived.
    func receive() throws(ZeroMQError) -> ZeroMQMessage? {
        var result = ZeroMQMessage(parts: [], userID: nil)
        var message = zmq_msg_t()
        zmq_msg_init(&message)
        defer { zmq_msg_close(&message) }
        repeat {
            var code = zmq_msg_recv(&message, handle, ZMQ_DONTWAIT)
            while code == -1, zmq_errno() == EINTR { code = zmq_msg_recv(&message, handle, ZMQ_DONTWAIT) }
            if code == -1, zmq_errno() == EAGAIN, result.parts.isEmpty { return nil }
            try ZeroMQError.check("zmq_msg_recv", name, code)
            // Of a ROUTER's messages the first part is libzmq's own, and does not always carry the sender's properties.
            if let user = zmq_msg_gets(&message, "User-Id") { result.userID = String(cString: user) }
            if result.parts.count <= Self.partLimit {
                result.parts.append(
                    Array(UnsafeRawBufferPointer(start: zmq_msg_data(&message), count: zmq_msg_size(&message))))
            }
        } while zmq_msg_more(&message) != 0
        return result
    }

    /// Waits until one of the sockets has something to read, at most so long, and returns those that have.
    static func poll(_ sockets: [ZeroMQSocket], milliseconds: Int) throws(ZeroMQError) -> [Bool] {
        var items = sockets.map { zmq_pollitem_t(socket: $0.handle, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0) }
        let code = zmq_poll(&items, Int32(items.count), milliseconds)
        if code == -1, zmq_errno() == EINTR { return [Bool](repeating: false, count: sockets.count) }
        try ZeroMQError.check("zmq_poll", "\(sockets.count) sockets", code)
        return items.map { $0.revents & Int16(ZMQ_POLLIN) != 0 }
    }
}

/// A key pair of CURVE (Curve25519), in libzmq's text form Z85: 40 characters each.
package struct CurveKeys: Sendable {
    package let publicKey: String
    package let secretKey: String

    package init(publicKey: String, secretKey: String) { (self.publicKey, self.secretKey) = (publicKey, secretKey) }

    /// A fresh pair.
    package static func generate() throws(ZeroMQError) -> CurveKeys {
        var (publicKey, secretKey) = ([CChar](repeating: 0, count: 41), [CChar](repeating: 0, count: 41))
        try ZeroMQError.check("zmq_curve_keypair", "a new key", zmq_curve_keypair(&publicKey, &secretKey))
        func text(_ key: [CChar]) -> String { String(decoding: key.prefix(40).map { UInt8(bitPattern: $0) }, as: UTF8.self) }
        return CurveKeys(publicKey: text(publicKey), secretKey: text(secretKey))
    }

    /// The 32 bytes of a key in Z85; nil where it is none.
    static func decode(_ key: String) -> [UInt8]? {
        guard key.utf8.count == 40 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 32)
        return zmq_z85_decode(&bytes, key) == nil ? nil : bytes
    }
}
