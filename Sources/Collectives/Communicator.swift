package import Support
package import TensorCore

/// How the elements of the ranks become one.
package enum Reduction: Sendable {
    case sum, min, max
}

/// An element that can be reduced over ranks.
package protocol ReducibleElement: BitwiseCopyable, Comparable, Sendable {
    static var communicationType: CommunicationType { get }
}

/// The element types that travel.
package enum CommunicationType: Sendable {
    case byte, float, double, int64

    /// Bytes of one element.
    package var stride: Int {
        switch self {
        case .byte: 1
        case .float: 4
        case .double, .int64: 8
        }
    }
}

extension Float: ReducibleElement { package static var communicationType: CommunicationType { .float } }
extension Double: ReducibleElement { package static var communicationType: CommunicationType { .double } }
extension Int64: ReducibleElement { package static var communicationType: CommunicationType { .int64 } }

/// A group of processes that compute together.
///
/// Collective operations (all but sends and receives) must be called by every rank in the same order. A communicator is
/// used by one thread at a time. A step loop takes `some Communicator`; `any Communicator` is for choosing one at start.
///
/// **Same ranks, same bits.** A sum over ranks is added in an order that depends only on the number of ranks and of
/// elements, never on arrival, and every rank receives the same bits (Open MPI's `tuned` algorithms, and those of `libnbc` for
/// sums in the background; rank tests check it). Another number of ranks adds in another order, and rounds differently.
///
/// The requirements below take memory; callers use the forms for tensors, arrays and values in the extensions.
package protocol Communicator: AnyObject {
    /// This process, in `0..<size`.
    var rank: Int { get }
    var size: Int { get }
    /// Bytes that this rank has sent so far: a reduction counts its buffer once, a broadcast counts at the root, a gather
    /// counts the own part. Bytes on the wire may differ; a world of one sends nothing.
    var bytesSent: Int { get }

    /// data ← the reduction of every rank's `data`, element by element, on every rank.
    func allReduce<Element: ReducibleElement>(
        _ data: UnsafeMutableBufferPointer<Element>, _ reduction: Reduction
    ) throws(MPIError)
    /// Starts an all-reduce of the memory `value` owns; `value` keeps the memory alive and is handed back at the end.
    func startAllReduce<Element: ReducibleElement, Value>(
        _ data: UnsafeMutableBufferPointer<Element>, of value: Value, _ reduction: Reduction
    ) throws(MPIError) -> Pending<Value>

    /// data ← the root's `data`.
    func broadcast(_ data: UnsafeMutableRawBufferPointer, root: Int) throws(MPIError)
    /// data ← the parts of all ranks, one after the other; this rank's is in its place already. `lengths`: bytes of every
    /// rank's part.
    func allGather(_ data: UnsafeMutableRawBufferPointer, lengths: [Int]) throws(MPIError)
    /// Returns when every rank has entered.
    func barrier() throws(MPIError)

    /// The ranks that gave the same color, ordered by key; nil where the color is nil. Collective.
    func split(color: Int?, key: Int) throws(MPIError) -> Self?
    /// Ranks on this rank's machine, itself among them. Collective.
    func ranksOnNode() throws(MPIError) -> Int
    /// Cores this rank has: of each it may run on, the part that falls to it of all ranks of its machine that may, and of the
    /// time that control groups allow these. Collective.
    func coreShare() throws(MPIError) -> Double

    func send(_ data: UnsafeRawBufferPointer, to peer: Int, tag: Int) throws(MPIError)
    /// Receives exactly `data.count` bytes.
    func receive(_ data: UnsafeMutableRawBufferPointer, from peer: Int, tag: Int) throws(MPIError)
    func startSend<Value>(
        _ data: UnsafeRawBufferPointer, of value: Value, to peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value>
    func startReceive<Value>(
        _ data: UnsafeMutableRawBufferPointer, of value: Value, from peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value>

    /// From here on a call that waits for other ranks ends the job where one of them gets nothing done for so long: see
    /// ``Watchdog``. Parts split off later do the same. What looked after the ranks before no longer does. Collective.
    ///
    /// - Returns: why ranks that hang are not noticed; nil where they are.
    func watch(longestWait: Duration) throws(MPIError) -> String?
    /// What looks after this rank and the others; nil before ``watch(longestWait:)``.
    var watchdog: Watchdog? { get }
    /// Ends every process of the job with this exit code.
    func abort(_ code: ExitCode) -> Never
}

extension Communicator {
    /// Watches nothing: for communicators without a watchdog.
    package func watch(longestWait: Duration) throws(MPIError) -> String? { nil }
    package var watchdog: Watchdog? { nil }

    /// Does what may wait for other ranks in another way than by the calls above.
    package func waiting<Result, Failure: Error>(in operation: String, _ body: () throws(Failure) -> Result) throws(Failure)
        -> Result
    {
        guard let watchdog else { return try body() }
        return try watchdog.waiting(in: operation, body)
    }

    /// Whether this process speaks for all.
    package var isRoot: Bool { rank == 0 }

    // MARK: Reductions

    /// elements ← the reduction over ranks of `elements`, of which all ranks have as many.
    package func allReduce<Element: ReducibleElement>(_ elements: inout [Element], _ reduction: Reduction) throws(MPIError) {
        try elements.withUnsafeMutableBufferPointer { data throws(MPIError) in try allReduce(data, reduction) }
    }

    /// The reduction of one value of every rank.
    package func allReduce<Element: ReducibleElement>(_ value: Element, _ reduction: Reduction) throws(MPIError) -> Element {
        var elements = [value]
        try allReduce(&elements, reduction)
        return elements[0]
    }

    /// Starts a sum over ranks; ``Pending/wait()`` gives the tensor back. No copy is made when the caller gives up its own.
    package func startAllReduceSum(_ tensor: consuming Tensor) throws(MPIError) -> Pending<Tensor> {
        var tensor = tensor
        let data = UnsafeMutableBufferPointer(start: tensor.mutablePointer, count: tensor.count)
        return try startAllReduce(data, of: tensor, .sum)
    }

    /// Starts a reduction of a copy of `elements`; ``Pending/wait()`` gives the result.
    package func startAllReduce<Element: ReducibleElement>(
        _ elements: [Element], _ reduction: Reduction
    ) throws(MPIError) -> Pending<PinnedElements<Element>> {
        let pinned = PinnedElements(elements)
        return try startAllReduce(pinned.memory, of: pinned, reduction)
    }

    // MARK: Broadcast and gather

    /// tensor ← the root's, which has the same shape.
    package func broadcast(_ tensor: inout Tensor, root: Int = 0) throws(MPIError) {
        try tensor.withMutableElements { data throws(MPIError) in
            try broadcast(UnsafeMutableRawBufferPointer(data), root: root)
        }
    }

    /// bytes ← the root's, of any length.
    package func broadcast(_ bytes: inout [UInt8], root: Int = 0) throws(MPIError) {
        let count = try broadcast(Int64(bytes.count), root: root)
        if rank != root { bytes = [UInt8](repeating: 0, count: Int(count)) }
        try bytes.withUnsafeMutableBufferPointer { data throws(MPIError) in
            try broadcast(UnsafeMutableRawBufferPointer(data), root: root)
        }
    }

    /// The root's value.
    package func broadcast(_ value: Int64, root: Int = 0) throws(MPIError) -> Int64 {
        var value = value
        try withUnsafeMutableBytes(of: &value) { data throws(MPIError) in try broadcast(data, root: root) }
        return value
    }

    /// Every rank's bytes, by rank; lengths may differ.
    package func allGather(_ bytes: [UInt8]) throws(MPIError) -> [[UInt8]] {
        let lengths = try allGather(Int64(bytes.count)).map { Int($0) }
        var joined = [UInt8](repeating: 0, count: lengths.reduce(0, +))
        try gather(bytes, lengths: lengths, into: &joined)
        var offset = 0
        return lengths.map { length in
            defer { offset += length }
            return Array(joined[offset..<offset + length])
        }
    }

    /// Every rank's value, by rank.
    package func allGather<Element: ReducibleElement>(_ value: Element) throws(MPIError) -> [Element] {
        var result = [Element](repeating: value, count: size)
        try gather([value], lengths: [Int](repeating: MemoryLayout<Element>.stride, count: size), into: &result)
        return result
    }

    /// Every rank's values one after the other, by rank; their numbers may differ.
    package func allGather(_ values: [Double]) throws(MPIError) -> [Double] {
        let counts = try allGather(Int64(values.count)).map { Int($0) }
        var result = [Double](repeating: 0, count: counts.reduce(0, +))
        try gather(values, lengths: counts.map { $0 * MemoryLayout<Double>.stride }, into: &result)
        return result
    }

    private func gather<Element: BitwiseCopyable>(
        _ part: [Element], lengths: [Int], into result: inout [Element]
    ) throws(MPIError) {
        try part.withUnsafeBufferPointer { part throws(MPIError) in
            try result.withUnsafeMutableBufferPointer { result throws(MPIError) in
                try allGather(
                    UnsafeRawBufferPointer(part), lengths: lengths, into: UnsafeMutableRawBufferPointer(result))
            }
        }
    }

    /// result ← the parts of all ranks, one after the other. `lengths`: bytes of every rank's part.
    private func allGather(
        _ part: UnsafeRawBufferPointer, lengths: [Int], into result: UnsafeMutableRawBufferPointer
    ) throws(MPIError) {
        let first = lengths[..<rank].reduce(0, +)
        UnsafeMutableRawBufferPointer(rebasing: result[first..<first + lengths[rank]]).copyMemory(from: part)
        try allGather(result, lengths: lengths)
    }

    /// The first elements of `tensor` ← the ranks' parts, of so many elements each, one after the other; this rank's is there
    /// already.
    package func allGather(_ tensor: inout Tensor, counts: [Int]) throws(MPIError) {
        let lengths = counts.map { $0 * MemoryLayout<Float>.stride }
        try tensor.withMutableElements { data throws(MPIError) in
            let parts = UnsafeMutableRawBufferPointer(data)[..<lengths.reduce(0, +)]
            try allGather(UnsafeMutableRawBufferPointer(rebasing: parts), lengths: lengths)
        }
    }

    /// The ranks' tensors under each other: `[rows, columns]` from every rank (rows may differ) gives `[Σ rows, columns]`.
    package func allGatherRows(_ tensor: Tensor) throws(MPIError) -> Tensor {
        let counts = try allGather(Int64(tensor.count)).map { Int($0) }
        let columns = max(1, tensor.columns)
        var result = Tensor(uninitialized: [counts.reduce(0, +) / columns, columns])
        let lengths = counts.map { $0 * MemoryLayout<Float>.stride }
        try tensor.withElements { part throws(MPIError) in
            try result.withMutableElements { result throws(MPIError) in
                try allGather(
                    UnsafeRawBufferPointer(part), lengths: lengths, into: UnsafeMutableRawBufferPointer(result))
            }
        }
        return result
    }

    // MARK: Between two ranks

    /// Sends the elements of a tensor, whose shape the peer must know: see ``receive(_:from:tag:)``.
    package func send(_ tensor: Tensor, to peer: Int, tag: Int = 0) throws(MPIError) {
        try tensor.withElements { data throws(MPIError) in try send(UnsafeRawBufferPointer(data), to: peer, tag: tag) }
    }

    /// A tensor of this shape from a peer.
    package func receive(_ shape: [Int], from peer: Int, tag: Int = 0) throws(MPIError) -> Tensor {
        var tensor = Tensor(uninitialized: shape)
        try tensor.withMutableElements { data throws(MPIError) in
            try receive(UnsafeMutableRawBufferPointer(data), from: peer, tag: tag)
        }
        return tensor
    }

    /// Sends bytes, whose number the peer must know: see ``receive(bytes:from:tag:)``.
    package func send(_ bytes: [UInt8], to peer: Int, tag: Int = 0) throws(MPIError) {
        try bytes.withUnsafeBufferPointer { data throws(MPIError) in try send(UnsafeRawBufferPointer(data), to: peer, tag: tag)
        }
    }

    /// So many bytes from a peer.
    package func receive(bytes count: Int, from peer: Int, tag: Int = 0) throws(MPIError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBufferPointer { data throws(MPIError) in
            try receive(UnsafeMutableRawBufferPointer(data), from: peer, tag: tag)
        }
        return bytes
    }

    /// Starts sending; the tensor may be written to at once (the message keeps the elements as they are now).
    package func startSend(_ tensor: Tensor, to peer: Int, tag: Int = 0) throws(MPIError) -> Pending<Tensor> {
        let data = UnsafeBufferPointer(start: tensor.pointer, count: tensor.count)
        return try startSend(UnsafeRawBufferPointer(data), of: tensor, to: peer, tag: tag)
    }

    /// Starts receiving a tensor of this shape.
    package func startReceive(_ shape: [Int], from peer: Int, tag: Int = 0) throws(MPIError) -> Pending<Tensor> {
        var tensor = Tensor(uninitialized: shape)
        let data = UnsafeMutableBufferPointer(start: tensor.mutablePointer, count: tensor.count)
        return try startReceive(UnsafeMutableRawBufferPointer(data), of: tensor, from: peer, tag: tag)
    }
}
