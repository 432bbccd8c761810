internal import Glibc
internal import Support

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

    /// Opens the socket of every rank and exchanges addresses. Collective.
    ///
    /// - Returns: nil in a world of one. Where a rank cannot be asked there is none on any rank, and a line that says why: the
    ///   others would take that rank for lost.
    static func open(_ world: some Communicator) throws(MPIError) -> (heartbeat: Heartbeat?, problem: String?) {
        guard world.size > 1 else { return (nil, nil) }
        let token = UInt64(bitPattern: try world.broadcast(Int64.random(in: .min ... .max)))
        let isOneNode = try world.ranksOnNode() == world.size
        let addresses = isOneNode ? ["127.0.0.1"] : NetworkInterfaces.outward().map(\.text)
        let descriptor = socket(
            AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        let (loopback, any): (UInt32, UInt32) = (0x7F00_0001, 0)
        let isBound =
            descriptor >= 0
            && NetworkInterfaces.withSocketAddress(isOneNode ? loopback : any, port: 0) { bind(descriptor, $0, $1) } == 0
        let port = isBound ? NetworkInterfaces.boundAddress(descriptor)?.port : nil
        let own = port.map { Place(addresses: addresses, port: $0) } ?? Place(addresses: addresses, code: errno)
        let places: [Place]
        do throws(MPIError) {
            places = try world.allGather(Array(own.text.utf8)).map { Place(text: String(decoding: $0, as: UTF8.self)) }
        } catch {
            if descriptor >= 0 { close(descriptor) }
            throw error
        }
        if let problem = problem(of: places) {
            if descriptor >= 0 { close(descriptor) }
            return (nil, problem)
        }
        let peers = places.map { place in place.addresses.compactMap { NetworkInterfaces.parse($0) }.map { ($0, place.port) } }
        return (Heartbeat(descriptor: descriptor, token: token, rank: world.rank, peers: peers), nil)
    }

    /// Where a rank can be asked.
    struct Place: Equatable {
        let addresses: [String]
        /// 0 where the rank has no socket.
        let port: UInt16
        /// The system's number for why not.
        let code: Int32

        var text: String { ([String(port), String(code)] + addresses).joined(separator: " ") }

        init(addresses: [String], port: UInt16 = 0, code: Int32 = 0) {
            (self.addresses, self.port, self.code) = (addresses, port, code)
        }

        /// - Parameter text: as ``text`` gives it.
        init(text: String) {
            let fields = text.split(separator: " ").map(String.init)
            addresses = Array(fields.dropFirst(2))
            port = fields.first.flatMap { UInt16($0) } ?? 0
            code = fields.dropFirst().first.flatMap { Int32($0) } ?? 0
        }
    }

    /// Why a rank cannot be asked; nil where all can.
    static func problem(of places: [Place]) -> String? {
        guard let rank = places.firstIndex(where: { $0.port == 0 || $0.addresses.isEmpty }) else { return nil }
        let why =
            places[rank].port == 0
            ? "cannot open a UDP socket (\(systemMessage(places[rank].code)))" : "has no address that other machines reach"
        return "rank \(rank) \(why), so a rank that hangs is not noticed, and the job waits until somebody ends it"
    }

    private init(descriptor: Int32, token: UInt64, rank: Int, peers: [[(address: UInt32, port: UInt16)]]) {
        (self.descriptor, self.token, self.rank, self.peers) = (descriptor, token, rank, peers)
    }

    deinit { close(descriptor) }

    var size: Int { peers.count }

    func send(_ message: Message, to peer: Int) {
        for (address, port) in peers[peer] {
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
