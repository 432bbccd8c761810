/// A message that has arrived, without the parts that only route it.
enum BusEvent {
    /// Header and payload as published by a rank; as sent by a rank on request; as asked by a rank.
    case published(from: Int, [[UInt8]])
    case replayed(from: Int, [[UInt8]])
    case asked(by: Int, [[UInt8]])
    /// A subscription to this rank's frames.
    case subscribed
    /// The last subscription has ended: the others are finished, as they may once this rank's last step is theirs too.
    case unsubscribed
    /// A message of the wrong form, or from an unlisted peer.
    case garbage
}

/// Where others connect to, and the public key that guards it: what the ranks tell each other first.
struct PeerEndpoints: Equatable {
    var publicKey = ""
    /// For subscriptions to frames, and for requests.
    var data = "", control = ""
    /// For other relays.
    var relay = ""

    private var fields: [String] { [publicKey, data, control, relay] }

    var encoded: [UInt8] { Array(fields.joined(separator: "\n").utf8) }

    init(publicKey: String = "", data: String = "", control: String = "", relay: String = "") {
        (self.publicKey, self.data, self.control, self.relay) = (publicKey, data, control, relay)
    }

    /// - Parameter bytes: as ``encoded`` gives them.
    init(decoding bytes: [UInt8]) {
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        precondition(fields.count == 4, "endpoints have four lines")
        self.init(
            publicKey: String(fields[0]), data: String(fields[1]), control: String(fields[2]), relay: String(fields[3]))
    }
}

/// A rank's way to all others, whoever is connected to whom. Frames of one rank arrive in the order in which it published them,
/// each once, or not at all.
protocol BusLinks: AnyObject {
    var rank: Int { get }
    /// What this rank, or the relay that it runs, listens at.
    var endpoints: PeerEndpoints { get }
    /// Subscriptions that must have come in before what this rank publishes can reach all.
    var subscribers: Int { get }
    /// The ranks with whom a request and its answer show that the connections for these work.
    var correspondents: Set<Int> { get }
    /// Connections turned away here for lack of a listed key.
    var refusedKeys: Int { get }

    /// To all ranks; false where there is no room.
    func publish(_ header: [UInt8], _ payload: [UInt8]) throws -> Bool
    /// Asks a rank; false where there is no room.
    func ask(_ peer: Int, _ header: [UInt8], _ payload: [UInt8]) throws -> Bool
    /// Answers a rank that has asked; false where there is no room.
    func answer(_ peer: Int, _ header: [UInt8], _ payload: [UInt8]) throws -> Bool
    /// Waits for messages at most so long and passes on what there is.
    func poll(milliseconds: Int, _ handle: (BusEvent) throws -> Void) throws
}

/// A socket that only listed keys may connect to, before it is in use.
protocol GuardedSocket {
    var messaging: MessagingContext { get }
    var rank: Int { get }
    /// Where it listens, and with which key.
    var door: (endpoint: String, publicKey: String) { get }
    /// Waits for messages at most so long; whether anything has got in.
    func hasEntered(milliseconds: Int) throws -> Bool
}
