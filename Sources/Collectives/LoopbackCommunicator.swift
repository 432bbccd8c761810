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
    package func watch(longestWait: Duration) throws(MPIError) { watchdog = Watchdog(rank: 0) }

    package func allReduce<Element: ReducibleElement>(
        _ data: UnsafeMutableBufferPointer<Element>, _ reduction: Reduction
    ) throws(MPIError) {}

    package func startAllReduce<Element: ReducibleElement, Value>(
        _ data: UnsafeMutableBufferPointer<Element>, of value: Value, _ reduction: Reduction
    ) throws(MPIError) -> Pending<Value> { Pending(value, progress: nil) }

    package func broadcast(_ data: UnsafeMutableRawBufferPointer, root: Int) throws(MPIError) {
        precondition(root == 0, "root \(root) in a world of one")
    }

    package func allGather(
        _ part: UnsafeRawBufferPointer, lengths: [Int], into result: UnsafeMutableRawBufferPointer
    ) throws(MPIError) {
        precondition(lengths == [part.count] && result.count == part.count, "lengths \(lengths) of a gather over one rank")
        result.copyMemory(from: part)
    }

    package func barrier() throws(MPIError) {}

    package func split(color: Int?, key: Int) throws(MPIError) -> LoopbackCommunicator? {
        color == nil ? nil : LoopbackCommunicator()
    }

    package func ranksOnNode() throws(MPIError) -> Int { 1 }
    package func coreShare() throws(MPIError) -> Double {
        min(Double(cmpi_available_cores()), ControlGroups().coreQuota ?? .infinity)
    }

    package func send(_ data: UnsafeRawBufferPointer, to peer: Int, tag: Int) throws(MPIError) {
        precondition(peer == 0, "peer \(peer) in a world of one")
        mailbox[tag, default: []].append(Array(data))
    }

    package func receive(_ data: UnsafeMutableRawBufferPointer, from peer: Int, tag: Int) throws(MPIError) {
        precondition(peer == 0, "peer \(peer) in a world of one")
        guard try take(into: data, tag: tag) else {
            throw MPIError(
                operation: "receive", rank: 0, code: 0, text: "nothing with tag \(tag) was sent in this world of one")
        }
    }

    package func startSend<Value>(
        _ data: UnsafeRawBufferPointer, of value: Value, to peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value> {
        try send(data, to: peer, tag: tag)
        return Pending(value, progress: nil)
    }

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

    package func abort(_ code: ExitCode) -> Never { exit(code.rawValue) }
}
