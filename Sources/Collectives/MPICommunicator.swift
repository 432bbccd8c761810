internal import CMPI
internal import Glibc
package import Support

/// Ranks of an MPI job. Obtained from ``MPIEnvironment/start(environment:)`` and by splitting.
package final class MPICommunicator: Communicator {
    package let rank: Int
    package let size: Int
    package private(set) var bytesSent = 0

    private let handle: cmpi_comm?
    /// Elements of one MPI call at most: MPI counts in `int`. Longer messages travel in pieces.
    private let pieceLimit: Int
    package private(set) var watchdog: Watchdog?

    init(_ handle: cmpi_comm?, pieceLimit: Int = 1 << 30, _ watchdog: Watchdog? = nil) throws(MPIError) {
        precondition(pieceLimit > 0 && pieceLimit <= Int(Int32.max), "MPI counts elements in a 32-bit integer")
        var (rank, size): (Int32, Int32) = (0, 0)
        try MPIError.check("MPI_Comm_rank", rank: 0, cmpi_rank(handle, &rank))
        try MPIError.check("MPI_Comm_size", rank: Int(rank), cmpi_size(handle, &size))
        (self.rank, self.size) = (Int(rank), Int(size))
        self.handle = handle
        self.pieceLimit = pieceLimit
        self.watchdog = watchdog
    }

    /// The same ranks with another limit to the elements of one MPI call, for testing messages in pieces.
    func limited(toPieces limit: Int) throws(MPIError) -> MPICommunicator { try MPICommunicator(handle, pieceLimit: limit) }

    /// Starts the watchdog of this rank, and the datagrams by which the watchdogs ask each other (`Heartbeat`). Collective.
    package func watch(longestWait: Duration) throws(MPIError) -> String? {
        let (heartbeat, problem) = try Heartbeat.open(self)
        // Every rank is here now: none still waits for an answer of the one before.
        watchdog?.stop()
        let own = Watchdog(rank: rank, heartbeat, timeout: longestWait)
        watchdog = own
        let isDeaf = try allReduce(Int64(own.isWatching ? 0 : 1), .max) > 0
        return isDeaf ? "a rank has no thread for its watchdog: one that hangs may not be noticed" : problem
    }

    /// Makes a call that may wait for other ranks.
    private func wait(_ operation: String, _ kind: Trace.Kind, _ call: () -> Int32) throws(MPIError) {
        let code = Trace.span(kind) { watchdog.waiting(in: operation, call) }
        try MPIError.check(operation, rank: rank, code)
    }

    /// A group of one sends nothing, whatever is summed over it.
    private func noteSent(_ bytes: Int) { if size > 1 { bytesSent += bytes } }

    /// Calls `body` with the address and element count of each piece of `data`.
    private func forEachPiece(
        of data: UnsafeMutableRawBufferPointer, _ type: CommunicationType,
        _ body: (UnsafeMutableRawPointer?, Int32) throws(MPIError) -> Void
    ) throws(MPIError) {
        let count = data.count / type.stride
        var start = 0
        repeat {
            let length = min(pieceLimit, count - start)
            try body(data.baseAddress.map { $0 + start * type.stride }, Int32(length))
            start += length
        } while start < count
    }

    // MARK: Collective

    /// `MPI_Allreduce` in place, in pieces, since MPI counts elements in 32 bits.
    package func allReduce<Element: ReducibleElement>(
        _ data: UnsafeMutableBufferPointer<Element>, _ reduction: Reduction
    ) throws(MPIError) {
        let type = Element.communicationType
        try forEachPiece(of: UnsafeMutableRawBufferPointer(data), type) { (piece, count) throws(MPIError) in
            try wait("MPI_Allreduce", .allReduce) { cmpi_allreduce(handle, piece, count, type.mpi, reduction.mpi) }
        }
        noteSent(data.count * type.stride)
    }

    /// `MPI_Iallreduce` in place, a request a piece.
    package func startAllReduce<Element: ReducibleElement, Value>(
        _ data: UnsafeMutableBufferPointer<Element>, of value: Value, _ reduction: Reduction
    ) throws(MPIError) -> Pending<Value> {
        let type = Element.communicationType
        let requests = Requests(rank: rank, watchdog)
        try forEachPiece(of: UnsafeMutableRawBufferPointer(data), type) { (piece, count) throws(MPIError) in
            try requests.start("MPI_Iallreduce") { request in
                cmpi_iallreduce(handle, piece, count, type.mpi, reduction.mpi, &request)
            }
        }
        noteSent(data.count * type.stride)
        return Pending(value) { (wait) throws(MPIError) in try requests.progress(wait: wait) }
    }

    /// `MPI_Bcast` of bytes, in pieces.
    package func broadcast(_ data: UnsafeMutableRawBufferPointer, root: Int) throws(MPIError) {
        try forEachPiece(of: data, .byte) { (piece, count) throws(MPIError) in
            try wait("MPI_Bcast", .broadcast) { cmpi_bcast(handle, piece, count, CMPI_TYPE_BYTE, Int32(root)) }
        }
        if rank == root { noteSent(data.count) }
    }

    /// `MPI_Allgatherv` of bytes in place; where the result is too long for MPI's offsets, a broadcast of each rank's part.
    package func allGather(_ data: UnsafeMutableRawBufferPointer, lengths: [Int]) throws(MPIError) {
        precondition(lengths.count == size, "lengths \(lengths) of a gather over \(size) ranks")
        precondition(data.count == lengths.reduce(0, +), "\(data.count) bytes to gather \(lengths)")
        var (offsets, end) = ([Int](), 0)
        for length in lengths {
            offsets.append(end)
            end += length
        }
        if data.count <= pieceLimit {
            try wait("MPI_Allgatherv", .allGather) {
                cmpi_allgatherv(
                    handle, data.baseAddress, CMPI_TYPE_BYTE, lengths.map { Int32($0) }, offsets.map { Int32($0) })
            }
            noteSent(lengths[rank])
        } else {
            // MPI's offsets are `int` too: past that, every rank broadcasts its part.
            for root in 0..<size {
                let range = offsets[root]..<offsets[root] + lengths[root]
                try broadcast(UnsafeMutableRawBufferPointer(rebasing: data[range]), root: root)
            }
        }
    }

    /// `MPI_Barrier`.
    package func barrier() throws(MPIError) { try wait("MPI_Barrier", .barrier) { cmpi_barrier(handle) } }

    /// The parts live as long as the process: freeing a communicator is collective, which `deinit` cannot be.
    package func split(color: Int?, key: Int) throws(MPIError) -> MPICommunicator? {
        precondition((color ?? 0) >= 0, "a color is not negative")
        var part: cmpi_comm?
        try wait("MPI_Comm_split", .split) { cmpi_split(handle, Int32(color ?? -1), Int32(key), &part) }
        return part == nil ? nil : try MPICommunicator(part, pieceLimit: pieceLimit, watchdog)
    }

    /// Ranks that can share memory with this one: `MPI_Comm_split_type`.
    package func ranksOnNode() throws(MPIError) -> Int {
        var size: Int32 = 0
        try wait("MPI_Comm_split_type", .split) { cmpi_node_size(handle, &size) }
        return Int(size)
    }

    /// The sum, over the cores that this rank may run on, of 1/(ranks of the node that may run there), and no more than its
    /// part of the control groups' quota.
    package func coreShare() throws(MPIError) -> Double {
        var share = 0.0
        try wait("MPI_Comm_split_type", .split) { cmpi_core_share(handle, ControlGroups().coreQuota ?? 0, &share) }
        return share
    }

    // MARK: Between two ranks

    /// `MPI_Send` of bytes, in pieces.
    package func send(_ data: UnsafeRawBufferPointer, to peer: Int, tag: Int) throws(MPIError) {
        try forEachPiece(of: UnsafeMutableRawBufferPointer(mutating: data), .byte) { (piece, count) throws(MPIError) in
            try wait("MPI_Send", .send) { cmpi_send(handle, piece, count, CMPI_TYPE_BYTE, Int32(peer), Int32(tag)) }
        }
        noteSent(data.count)
    }

    /// `MPI_Recv` of exactly so many bytes, in pieces.
    package func receive(_ data: UnsafeMutableRawBufferPointer, from peer: Int, tag: Int) throws(MPIError) {
        try forEachPiece(of: data, .byte) { (piece, count) throws(MPIError) in
            try wait("MPI_Recv", .receive) { cmpi_recv(handle, piece, count, CMPI_TYPE_BYTE, Int32(peer), Int32(tag)) }
        }
    }

    /// `MPI_Isend` of bytes, a request a piece.
    package func startSend<Value>(
        _ data: UnsafeRawBufferPointer, of value: Value, to peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value> {
        let requests = Requests(rank: rank, watchdog)
        try forEachPiece(of: UnsafeMutableRawBufferPointer(mutating: data), .byte) { (piece, count) throws(MPIError) in
            try requests.start("MPI_Isend") { request in
                Trace.span(.send) { cmpi_isend(handle, piece, count, CMPI_TYPE_BYTE, Int32(peer), Int32(tag), &request) }
            }
        }
        noteSent(data.count)
        return Pending(value) { (wait) throws(MPIError) in try requests.progress(wait: wait) }
    }

    /// `MPI_Irecv` of exactly so many bytes, a request a piece.
    package func startReceive<Value>(
        _ data: UnsafeMutableRawBufferPointer, of value: Value, from peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value> {
        let requests = Requests(rank: rank, watchdog)
        try forEachPiece(of: data, .byte) { (piece, count) throws(MPIError) in
            try requests.start("MPI_Irecv", receiving: count) { request in
                cmpi_irecv(handle, piece, count, CMPI_TYPE_BYTE, Int32(peer), Int32(tag), &request)
            }
        }
        return Pending(value) { (wait) throws(MPIError) in try requests.progress(wait: wait) }
    }

    /// `MPI_Abort`, and the end of this process where that returns.
    package func abort(_ code: ExitCode) -> Never {
        _ = cmpi_abort(handle, code.rawValue)
        _exit(code.rawValue)
    }
}

extension Watchdog? {
    /// Calls `body`, which waits for other ranks in `operation`.
    fileprivate func waiting(in operation: String, _ body: () -> Int32) -> Int32 {
        guard let self else { return body() }
        return self.waiting(in: operation, body)
    }
}

/// The requests of one communication, one per piece.
private final class Requests {
    private let rank: Int
    private let watchdog: Watchdog?
    private var operation = ""
    /// With the bytes that a receive waits for; negative for others.
    private var open: [(request: cmpi_request?, bytes: Int32)] = []

    init(rank: Int, _ watchdog: Watchdog?) {
        self.rank = rank
        self.watchdog = watchdog
    }

    func start(
        _ operation: String, receiving bytes: Int32 = -1, _ call: (inout cmpi_request?) -> Int32
    ) throws(MPIError) {
        var request: cmpi_request?
        try MPIError.check(operation, rank: rank, call(&request))
        self.operation = operation
        open.append((request, bytes))
    }

    func progress(wait: Bool) throws(MPIError) -> Bool {
        while let (started, bytes) = open.last {
            var (request, done) = (started, Int32(1))
            let code =
                wait
                ? Trace.span(.wait) { watchdog.waiting(in: operation) { cmpi_wait(&request, bytes) } }
                : cmpi_test(&request, bytes, &done)
            try MPIError.check(operation, rank: rank, code)
            if done == 0 { return false }
            open.removeLast()
        }
        return true
    }
}

extension CommunicationType {
    fileprivate var mpi: cmpi_type {
        switch self {
        case .byte: CMPI_TYPE_BYTE
        case .float: CMPI_TYPE_FLOAT
        case .double: CMPI_TYPE_DOUBLE
        case .int64: CMPI_TYPE_INT64
        }
    }
}

extension Reduction {
    fileprivate var mpi: cmpi_op {
        switch self {
        case .sum: CMPI_OP_SUM
        case .min: CMPI_OP_MIN
        case .max: CMPI_OP_MAX
        }
    }
}
