internal import CMPI
internal import Glibc
package import Support

/// A world of one, without MPI: collective operations leave their data as it is, and what is sent arrives here.
package final class LoopbackCommunicator: Communicator {
    package let rank = 0
    package let size = 1
    package let bytesSent = 0
    /// Messages sent and not yet received, by tag.
    private var mailbox: [Int: [[UInt8]]] = [:]

    package private(set) var watchdog: Watchdog?

    package init() {}
    deinit { watchdog?.stop() }

    /// Nobody else is here to wait for, but phases may hang.
    package func watch(longestWait: Duration) throws(MPIError) -> String? {
        watchdog?.stop()
        watchdog = Watchdog(rank: 0)
        return nil
    }

    /// Leaves the data as they are: the reduction over one rank.
    package func allReduce<Element: ReducibleElement>(
        _ data: UnsafeMutableBufferPointer<Element>, _ reduction: Reduction
    ) throws(MPIError) {}

    /// Is done at once: the reduction over one rank.
    package func startAllReduce<Element: ReducibleElement, Value>(
        _ data: UnsafeMutableBufferPointer<Element>, of value: Value, _ reduction: Reduction
    ) throws(MPIError) -> Pending<Value> { Pending(value, progress: nil) }

    /// Leaves the data as they are. - Precondition: `root` is 0.
    package func broadcast(_ data: UnsafeMutableRawBufferPointer, root: Int) throws(MPIError) {
        precondition(root == 0, "root \(root) in a world of one")
    }

    /// Leaves the data, the only part, as they are. - Precondition: `lengths` has their length alone.
    package func allGather(_ data: UnsafeMutableRawBufferPointer, lengths: [Int]) throws(MPIError) {
        precondition(lengths == [data.count], "lengths \(lengths) of a gather over one rank")
    }

    /// Returns at once.
    package func barrier() throws(MPIError) {}

    /// Another world of one; nil where the color is nil.
    package func split(color: Int?, key: Int) throws(MPIError) -> LoopbackCommunicator? {
        color == nil ? nil : LoopbackCommunicator()
    }

    /// 1.
    package func ranksOnNode() throws(MPIError) -> Int { 1 }

    /// The cores that this process may run on, as far as control groups grant their time.
    package func coreShare() throws(MPIError) -> Double {
        min(Double(cmpi_available_cores()), ControlGroups().coreQuota ?? .infinity)
    }

    /// Keeps a copy for a receive with this tag. - Precondition: `peer` is 0.
    package func send(_ data: UnsafeRawBufferPointer, to peer: Int, tag: Int) throws(MPIError) {
        precondition(peer == 0, "peer \(peer) in a world of one")
        mailbox[tag, default: []].append(Array(data))
    }

    /// Takes the oldest message with this tag.
    ///
    /// - Throws: ``MPIError`` where there is none, since no other rank could send one, or where it has another length.
    package func receive(_ data: UnsafeMutableRawBufferPointer, from peer: Int, tag: Int) throws(MPIError) {
        precondition(peer == 0, "peer \(peer) in a world of one")
        guard try take(into: data, tag: tag) else {
            throw MPIError(
                operation: "receive", rank: 0, code: 0, text: "nothing with tag \(tag) was sent in this world of one")
        }
    }

    /// As ``send(_:to:tag:)``, which is done at once.
    package func startSend<Value>(
        _ data: UnsafeRawBufferPointer, of value: Value, to peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value> {
        try send(data, to: peer, tag: tag)
        return Pending(value, progress: nil)
    }

    /// Receives where the result is waited for or tested; the message may be sent after this call.
    package func startReceive<Value>(
        _ data: UnsafeMutableRawBufferPointer, of value: Value, from peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value> {
        Pending(value) { [self] (wait) throws(MPIError) in
            if wait {
                try receive(data, from: peer, tag: tag)
                return true
            }
            return try take(into: data, tag: tag)
        }
    }

    /// Moves the oldest message with this tag into `data`; false when there is none.
    private func take(into data: UnsafeMutableRawBufferPointer, tag: Int) throws(MPIError) -> Bool {
        guard let message = mailbox[tag]?.first else { return false }
        guard message.count == data.count else {
            let text = "\(message.count) bytes were sent where \(data.count) are received"
            throw MPIError(operation: "receive", rank: 0, code: 0, text: text)
        }
        mailbox[tag]?.removeFirst()
        data.copyBytes(from: message)
        return true
    }

    /// Ends this process.
    package func abort(_ code: ExitCode) -> Never { exit(code.rawValue) }
}
