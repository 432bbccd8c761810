internal import Glibc

/// Datagrams between the watchdogs of a job: questions, reports, and the word that the job ends.
///
/// UDP, on loopback where all ranks share a machine. On several machines the socket takes datagrams from any interface, and a
/// rank is asked at all of its addresses, so none has to be chosen; what does not carry the job's token is dropped unanswered.
/// Datagrams may be lost: questions are repeated.
final class Heartbeat: Sendable {
    enum Kind: UInt8 { case question = 1, report, ending }

    struct Message {
        var kind: Kind
        var rank: Int
        var isWaiting = false
        var idle: UInt64 = 0
    }

    private static let size = 32

    private let descriptor: Int32
    private let token: UInt64
    private let rank: Int
    /// Of every rank: addresses and a port.
    private let peers: [[(address: UInt32, port: UInt16)]]

    /// Opens the socket of every rank and exchanges addresses; nil in a world of one. Collective.
    static func open(_ world: some Communicator) throws(MPIError) -> Heartbeat? {
        guard world.size > 1 else { return nil }
        let token = UInt64(bitPattern: try world.broadcast(Int64.random(in: .min ... .max)))
        let isOneNode = try world.ranksOnNode() == world.size
        let descriptor = socket(
            AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        let (loopback, any): (UInt32, UInt32) = (0x7F00_0001, 0)
        var port: UInt16 = 0
        if descriptor >= 0,
            NetworkInterfaces.withSocketAddress(isOneNode ? loopback : any, port: 0, { bind(descriptor, $0, $1) }) == 0
        {
            port = NetworkInterfaces.boundAddress(descriptor)?.port ?? 0
        }
        let addresses = isOneNode ? ["127.0.0.1"] : NetworkInterfaces.outward().map(\.text)
        let lines = try world.allGather(Array(([String(port)] + addresses).joined(separator: " ").utf8))
        let peers = lines.map { line -> [(address: UInt32, port: UInt16)] in
            let fields = String(decoding: line, as: UTF8.self).split(separator: " ")
            let port = fields.first.flatMap { UInt16($0) } ?? 0
            return fields.dropFirst().compactMap { NetworkInterfaces.parse($0) }.map { ($0, port) }
        }
        return Heartbeat(descriptor: descriptor, token: token, rank: world.rank, peers: peers)
    }

    private init(descriptor: Int32, token: UInt64, rank: Int, peers: [[(address: UInt32, port: UInt16)]]) {
        (self.descriptor, self.token, self.rank, self.peers) = (descriptor, token, rank, peers)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    var size: Int { peers.count }

    func send(_ message: Message, to peer: Int) {
        for (address, port) in peers[peer] where port != 0 {
            NetworkInterfaces.withSocketAddress(address, port: port) { send(message, to: $0, $1) }
        }
    }

    private func send(_ message: Message, to address: UnsafePointer<sockaddr>, _ length: socklen_t) {
        let words = [token, UInt64(message.kind.rawValue) | (message.isWaiting ? 256 : 0), UInt64(message.rank), message.idle]
        _ = words.withUnsafeBytes { sendto(descriptor, $0.baseAddress, $0.count, 0, address, length) }
    }

    /// Takes in what has arrived; answers questions with `report`, to wherever they came from.
    func receive(answering report: @autoclosure () -> Message, _ take: (Message) -> Void) {
        var words: [UInt64] = [0, 0, 0, 0]
        while true {
            var source = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            withUnsafeMutablePointer(to: &source) { source in
                source.withMemoryRebound(to: sockaddr.self, capacity: 1) { source in
                    let count = words.withUnsafeMutableBytes {
                        recvfrom(descriptor, $0.baseAddress, $0.count, Int32(MSG_TRUNC), source, &length)
                    }
                    guard count >= 0 else { return length = 0 }
                    guard count == Self.size, words[0] == token, let kind = Kind(rawValue: UInt8(truncatingIfNeeded: words[1])),
                        words[2] < UInt64(size)
                    else { return }
                    if kind == .question { return send(report(), to: source, length) }
                    take(Message(kind: kind, rank: Int(words[2]), isWaiting: words[1] & 256 != 0, idle: words[3]))
                }
            }
            guard length > 0 else { return }
        }
    }
}
