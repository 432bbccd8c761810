package import Collectives
internal import Support
package import TensorCore

/// Messages under way to other ranks. Sending returns at once; memory is released as messages arrive.
///
/// At most `limit` messages are under way to each peer; after that sending waits for the oldest. This cannot deadlock as long
/// as receivers keep a receive posted for the next message that they will need (see ``Inbox``).
package final class Outbox<World: Communicator> {
    private let communicator: World
    private let limit: Int
    private var pending: [Int: [Pending<Tensor>]] = [:]

    package init(_ communicator: World, limit: Int = 4) {
        self.communicator = communicator
        self.limit = limit
    }

    /// Starts to send a tensor. Waits for the oldest message to this peer if as many as allowed are under way.
    package func send(_ tensor: Tensor, to peer: Int, tag: Int) throws(MPIError) {
        try Trace.span(.poll) { () throws(MPIError) in try progress() }
        while let oldest = pending[peer]?.first, pending[peer, default: []].count >= limit {
            _ = try oldest.wait()
            pending[peer]?.removeFirst()
        }
        pending[peer, default: []].append(try communicator.startSend(tensor, to: peer, tag: tag))
    }

    /// Whether a message to this peer could be sent at once.
    func hasRoom(for peer: Int) throws(MPIError) -> Bool {
        try progress()
        return pending[peer, default: []].count < limit
    }

    /// Lets MPI make progress with messages under way, and releases those that have arrived.
    package func progress() throws(MPIError) {
        for peer in Array(pending.keys) {
            while let oldest = pending[peer]?.first, try oldest.isComplete() { pending[peer]?.removeFirst() }
        }
    }

    /// Waits until everything has arrived.
    package func finish() throws(MPIError) {
        for messages in pending.values { for message in messages { _ = try message.wait() } }
        pending = [:]
    }
}

/// Messages expected from one rank, in order. The receives of the next message are always posted, so that it can arrive while
/// this rank computes.
struct Inbox<World: Communicator> {
    private let communicator: World
    private let peer: Int
    /// One tag per tensor of a message.
    private let tags: Range<Int>
    /// Shapes of the tensors in later messages, after the one whose receives are posted.
    private var shapes: ArraySlice<[Int]>
    private var posted: [Pending<Tensor>] = []

    /// - Parameter shapes: the shape of the tensors of each message, which all tensors of a message share.
    init(_ communicator: World, from peer: Int, tags: Range<Int>, shapes: [[Int]]) throws(MPIError) {
        (self.communicator, self.peer, self.tags, self.shapes) = (communicator, peer, tags, shapes[...])
        try post()
    }

    private mutating func post() throws(MPIError) {
        guard let shape = shapes.popFirst() else { return }
        for tag in tags { posted.append(try communicator.startReceive(shape, from: peer, tag: tag)) }
    }

    /// The tensors of the next message.
    mutating func next() throws(MPIError) -> [Tensor] {
        precondition(!posted.isEmpty, "no further message is expected from rank \(peer)")
        var tensors: [Tensor] = []
        for message in posted { tensors.append(try message.wait()) }
        posted = []
        try post()
        return tensors
    }

    func progress() throws(MPIError) { for message in posted { _ = try message.isComplete() } }

    /// Whether the next message has arrived. - Precondition: one is expected.
    func hasNext() throws(MPIError) -> Bool {
        for message in posted { guard try message.isComplete() else { return false } }
        return true
    }
}

func seconds<Failure: Error>(_ work: () throws(Failure) -> Void) throws(Failure) -> Double {
    let start = ContinuousClock.now
    try work()
    return (.now - start) / .seconds(1)
}
