internal import CKernels
internal import Glibc
internal import Synchronization

/// The threads of this process that share its loops: products, and passes over tokens, rows, heads or elements.
///
/// No result depends on their number: what is added up is added up within one part, or in parts whose bounds do not depend on
/// the threads, in their order.
package enum Team {
    private static let most = Int(CK_MOST_THREADS)
    private static let count = Atomic<Int>(1)
    private static let wanted = Atomic<Int>(1)
    private static let room = Atomic<Int>(most)

    /// Threads that share a loop, the caller's among them; 1 until it is set, and no more than ``limit``.
    package static var threads: Int {
        get { count.load(ordering: .relaxed) }
        set {
            wanted.store(newValue, ordering: .relaxed)
            count.store(max(1, min(newValue, limit)), ordering: .relaxed)
        }
    }

    /// The most threads that this process may start, as limits of its memory allow. Set it before ``threads``.
    package static var limit: Int {
        get { room.load(ordering: .relaxed) }
        set { room.store(max(1, min(newValue, most)), ordering: .relaxed) }
    }

    /// Whether more threads were asked for than there is room for, and could run otherwise.
    package static var isLimited: Bool { limit < most && wanted.load(ordering: .relaxed) > limit }

    /// Below so many elements of work, some microseconds, a further thread costs more than it saves.
    private static let elementsOfAThread = 1 << 15

    /// Calls `body` for runs of 0..<count that together are all of it: on all threads, or on fewer where `count` items of
    /// `cost` elements each are too little work for all.
    ///
    /// - Parameter body: runs on several threads at a time. It may write only what belongs to its run.
    package static func share(_ count: Int, cost: Int, _ body: (Range<Int>) -> Void) {
        share(count, in: min(threads, 1 + count * cost / elementsOfAThread), body)
    }

    /// The same on up to `threads` threads: more runs than threads, so that one that is late leaves its runs to the others.
    /// From call to call a thread has the same stretch of 0..<count, as long as it is in time.
    package static func share(_ count: Int, in threads: Int, _ body: (Range<Int>) -> Void) {
        share(count, in: threads, parts: min(count, threads * 4), body)
    }

    /// What `body` makes of each of 0..<count, long work that threads take one by one.
    ///
    /// - Parameters:
    ///   - costs: of the items, in any unit, if known: threads take the costliest first, so that none has it left in the end.
    ///   - meanwhile: what the caller's thread does at least every two milliseconds while it waits for others' items.
    ///   - body: runs on several threads at a time; it is told whether on the caller's. What it shares itself, its thread does
    ///     alone, unless there is but one item.
    /// - Throws: the first error by number, then that of `meanwhile`; after an error no item is begun.
    package static func map<Result>(
        _ count: Int, costs: [Int]? = nil, meanwhile: (() throws -> Void)? = nil,
        _ body: (_ item: Int, _ isCaller: Bool) throws -> Result
    ) throws -> [Result] {
        guard threads > 1, count > 1 else { return try (0..<count).map { try body($0, true) } }
        let caller = pthread_self()
        let hasFailed = Atomic<Bool>(false)
        var refusal: (any Error)?
        func wait() {
            guard refusal == nil, let meanwhile else { return }
            do { try meanwhile() } catch {
                refusal = error
                hasFailed.store(true, ordering: .relaxed)
            }
        }
        let order = costs.map { costs in (0..<count).sorted { (costs[$1], $0) < (costs[$0], $1) } } ?? Array(0..<count)
        let next = Atomic<Int>(0)
        var outcomes = [Swift.Result<Result, any Error>?](repeating: nil, count: count)
        outcomes.withUnsafeMutableBufferPointer { outcomes in
            let takers = min(threads, count)
            share(takers, in: takers, parts: takers, meanwhile: meanwhile == nil ? nil : wait) { _ in
                while !hasFailed.load(ordering: .relaxed) {
                    let place = next.add(1, ordering: .relaxed).oldValue
                    guard place < count else { return }
                    let item = order[place]
                    let outcome = Swift.Result { try body(item, pthread_equal(pthread_self(), caller) != 0) }
                    if case .failure = outcome { hasFailed.store(true, ordering: .relaxed) }
                    outcomes[item] = outcome
                }
            }
        }
        for case .failure(let error)? in outcomes { throw error }
        if let refusal { throw refusal }
        return try outcomes.map { outcome in
            guard let outcome else { preconditionFailure("an item was left out") }
            return try outcome.get()
        }
    }

    private static func share(
        _ count: Int, in threads: Int, parts: Int, meanwhile: (() -> Void)? = nil, _ body: (Range<Int>) -> Void
    ) {
        guard count > 0 else { return }
        guard threads > 1, parts > 1 else { return body(0..<count) }
        withoutActuallyEscaping(body) { body in
            var work = SharedWork(count: count, parts: parts, body: body, meanwhile: meanwhile)
            withUnsafeMutablePointer(to: &work) { work in
                ck_share_long(
                    threads, parts,
                    { context, part in
                        guard let work = context?.assumingMemoryBound(to: SharedWork.self).pointee else { return }
                        work.body(part * work.count / work.parts..<(part + 1) * work.count / work.parts)
                    },
                    meanwhile == nil
                        ? nil : { context in context?.assumingMemoryBound(to: SharedWork.self).pointee.meanwhile?() },
                    work)
            }
        }
    }

    /// Elements that are never parted: whole vectors of every processor, so that an element is computed alike wherever a run
    /// ends.
    private static let block = 1 << 12

    /// Calls `body` for runs of 0..<count elements, of arrays that are read once.
    package static func shareElements(_ count: Int, _ body: (Range<Int>) -> Void) {
        share((count + block - 1) / block, cost: block) { blocks in
            body(blocks.lowerBound * block..<min(count, blocks.upperBound * block))
        }
    }

    /// target ← target + scale·source, element by element.
    package static func add(
        _ source: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>, _ count: Int, scale: Float = 1
    ) {
        shareElements(count) { ck_axpy(scale, source + $0.lowerBound, target + $0.lowerBound, $0.count) }
    }

    /// target ← source.
    package static func copy(_ source: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>, _ count: Int) {
        shareElements(count) { (target + $0.lowerBound).update(from: source + $0.lowerBound, count: $0.count) }
    }

    /// Σ x²: the sums of chunks of a fixed size, added in their order.
    package static func sumOfSquares(_ source: UnsafePointer<Float>, _ count: Int) -> Double {
        let chunks = (count + elementsOfAThread - 1) / elementsOfAThread
        var sums = [Double](repeating: 0, count: chunks)
        sums.withUnsafeMutableBufferPointer { sums in
            share(chunks, cost: elementsOfAThread) { range in
                for chunk in range {
                    let first = chunk * elementsOfAThread
                    sums[chunk] = ck_sum_squares(source + first, min(elementsOfAThread, count - first))
                }
            }
        }
        return sums.reduce(0, +)
    }

    /// Items of a chunk whose sums ``sum(_:of:cost:into:_:)`` adds up.
    private static let chunk = 256

    /// Calls `body` for the chunks of 0..<count, each with `width` zeros of its own to add to, and adds what they leave to
    /// `total`, chunk by chunk in order.
    package static func sum(
        _ count: Int, of width: Int, cost: Int, into total: UnsafeMutablePointer<Float>,
        _ body: (Range<Int>, UnsafeMutablePointer<Float>) -> Void
    ) {
        let chunks = (count + chunk - 1) / chunk
        guard chunks > 1 else { return body(0..<count, total) }
        var partial = Tensor(zeros: [chunks, width])
        let sums = partial.mutablePointer
        share(chunks, cost: chunk * cost) { range in
            for index in range { body(index * chunk..<min(count, (index + 1) * chunk), sums + index * width) }
        }
        for index in 0..<chunks { ck_axpy(1, sums + index * width, total, width) }
    }
}

private struct SharedWork {
    let count: Int
    let parts: Int
    let body: (Range<Int>) -> Void
    let meanwhile: (() -> Void)?
}
