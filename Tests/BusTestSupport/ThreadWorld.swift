package import Collectives
internal import Glibc
package import Support

/// Ranks that are threads of this process: the bus can then be tested, and run under a sanitizer, without MPI.
///
/// Every collective is a round: each rank deposits bytes under the round's number and takes the deposits of all.
package final class ThreadWorld: Sendable {
    package let size: Int
    private let rounds = Locked<[Int: [Int: [UInt8]]]>([:])

    package init(size: Int) { self.size = size }

    /// Runs `body` once per rank, each on its own thread, and returns the results by rank.
    package static func run<Result: Sendable>(
        size: Int, _ body: @escaping @Sendable (ThreadCommunicator) throws -> Result
    ) async -> [Swift.Result<Result, any Error>] {
        let world = ThreadWorld(size: size)
        return await withTaskGroup(of: (Int, Swift.Result<Result, any Error>).self) { group in
            for rank in 0..<size {
                group.addTask {
                    await withCheckedContinuation { continuation in
                        onNewThread {
                            let result = Swift.Result { try body(ThreadCommunicator(world, rank: rank)) }
                            continuation.resume(returning: (rank, result))
                        }
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    /// The same, where every rank must succeed.
    package static func results<Result: Sendable>(
        size: Int, _ body: @escaping @Sendable (ThreadCommunicator) throws -> Result
    ) async throws -> [Result] {
        let results = await run(size: size, body)
        let failures = results.enumerated().compactMap { rank, result -> String? in
            if case .failure(let error) = result { "rank \(rank): \(error)" } else { nil }
        }
        guard failures.isEmpty else { throw RankFailures(description: failures.joined(separator: "; ")) }
        return try results.map { try $0.get() }
    }

    fileprivate func deposit(_ bytes: [UInt8], round: Int, rank: Int) {
        rounds.withLock { $0[round, default: [:]][rank] = bytes }
    }

    /// The deposits of all ranks, once all are there.
    fileprivate func take(round: Int) -> [[UInt8]]? {
        rounds.withLock { rounds in
            guard let deposits = rounds[round], deposits.count == size else { return nil }
            return (0..<size).map { deposits[$0] ?? [] }
        }
    }
}

package struct RankFailures: Error, CustomStringConvertible {
    package let description: String
}

/// A value behind a POSIX mutex, which a thread sanitizer understands (the standard library's it does not see).
private final class Locked<Value>: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var value: Value

    init(_ value: Value) {
        self.value = value
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&value)
    }
}

private func onNewThread(_ body: @escaping @Sendable () -> Void) {
    final class Work: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let work = Unmanaged.passRetained(Work(body)).toOpaque()
    let code = pthread_create(
        &thread, nil,
        { work in
            guard let work else { return nil }
            Unmanaged<Work>.fromOpaque(work).takeRetainedValue().body()
            return nil
        }, work)
    precondition(code == 0, "no thread")
    pthread_detach(thread)
}

package final class ThreadCommunicator: Communicator {
    package let rank: Int
    package var size: Int { world.size }
    package let bytesSent = 0
    private let world: ThreadWorld
    private var round = 0

    fileprivate init(_ world: ThreadWorld, rank: Int) { (self.world, self.rank) = (world, rank) }

    private func start(_ bytes: [UInt8]) -> Int {
        defer { round += 1 }
        world.deposit(bytes, round: round, rank: rank)
        return round
    }

    private func exchange(_ bytes: [UInt8]) -> [[UInt8]] {
        let round = start(bytes)
        while true {
            if let all = world.take(round: round) { return all }
            usleep(100)
        }
    }

    package func allReduce<Element: ReducibleElement>(
        _ data: UnsafeMutableBufferPointer<Element>, _ reduction: Reduction
    ) throws(MPIError) { _ = try startAllReduce(data, of: (), reduction).wait() }

    package func startAllReduce<Element: ReducibleElement, Value>(
        _ data: UnsafeMutableBufferPointer<Element>, of value: Value, _ reduction: Reduction
    ) throws(MPIError) -> Pending<Value> {
        precondition(reduction != .sum, "the bus needs minima and maxima only")
        let round = start(Array(UnsafeRawBufferPointer(data)))
        return Pending(value) { [world] (wait) throws(MPIError) in
            var all = world.take(round: round)
            while all == nil, wait {
                usleep(100)
                all = world.take(round: round)
            }
            guard let all else { return false }
            for (i, bytes) in all.enumerated() {
                let elements = bytes.withUnsafeBytes { Array($0.bindMemory(to: Element.self)) }
                for (j, element) in elements.enumerated() {
                    data[j] = i == 0 ? element : reduction == .min ? min(data[j], element) : max(data[j], element)
                }
            }
            return true
        }
    }

    package func broadcast(_ data: UnsafeMutableRawBufferPointer, root: Int) throws(MPIError) {
        data.copyBytes(from: exchange(rank == root ? Array(data) : [])[root])
    }

    package func allGather(_ data: UnsafeMutableRawBufferPointer, lengths: [Int]) throws(MPIError) {
        let first = lengths[..<rank].reduce(0, +)
        data.copyBytes(from: exchange(Array(data[first..<first + lengths[rank]])).joined())
    }

    package func barrier() throws(MPIError) { _ = exchange([]) }

    package func split(color: Int?, key: Int) throws(MPIError) -> ThreadCommunicator? { try unsupported("split") }
    package func ranksOnNode() throws(MPIError) -> Int { size }
    package func coreShare() throws(MPIError) -> Double { try unsupported("coreShare") }
    package func send(_ data: UnsafeRawBufferPointer, to peer: Int, tag: Int) throws(MPIError) { try unsupported("send") }
    package func receive(_ data: UnsafeMutableRawBufferPointer, from peer: Int, tag: Int) throws(MPIError) {
        try unsupported("receive")
    }
    package func startSend<Value>(
        _ data: UnsafeRawBufferPointer, of value: Value, to peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value> { try unsupported("send") }
    package func startReceive<Value>(
        _ data: UnsafeMutableRawBufferPointer, of value: Value, from peer: Int, tag: Int
    ) throws(MPIError) -> Pending<Value> { try unsupported("receive") }

    private func unsupported(_ operation: String) throws(MPIError) -> Never {
        throw MPIError(operation: operation, rank: rank, code: 0, text: "ranks that are threads do not offer it")
    }

    package func abort(_ code: ExitCode) -> Never { exit(code.rawValue) }
}
