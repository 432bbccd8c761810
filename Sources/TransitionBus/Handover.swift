/// Who computes a step's layers, and for whom.
package struct StepPlan {
    /// Who publishes each layer.
    package let owners: [Int]
    /// All layers, in the order in which owners compute them.
    package let order: [Int]
    /// Nanoseconds that each layer is expected to take; nil where that is not known. Ranks that are ready then take over
    /// nothing.
    package let expected: [Int]?

    /// - Parameter order: nil: as they are numbered.
    package init(owners: [Int], order: [Int]? = nil, expected: [Int]? = nil) {
        (self.owners, self.order, self.expected) = (owners, order ?? Array(owners.indices), expected)
    }
}

/// Layers that ranks compute for each other within a step. Pure bookkeeping without sockets: time is passed in.
///
/// An owner's layers are a queue. A rank that is done with its own asks the owner that has most to do for layers; that one
/// lends the last it has not begun, and does not begin them meanwhile. The borrower hands the transition to the owner, which
/// publishes it: for all others the layer is its owner's, whoever has computed it. An owner that is done with the rest waits
/// for what it has lent no longer than ``patience`` allows, and then computes it, too.
struct Handover {
    /// Nanoseconds below which a layer is not worth asking for. A claim waits until the owner next looks for messages, and so
    /// does the result. While it computes, it looks between the parts of its work, at most every 2 ms.
    static let least = 5_000_000
    /// A loan may take so many times what is expected, since times vary by that, and so much besides.
    static let patience = (factor: 4, besides: Duration.milliseconds(250))
    /// After so many answers without a layer a rank asks no more in a step: what is left is under way, and with many ranks
    /// messages would cost more than they bring.
    static let mostRefusals = 3

    private struct Loan {
        let borrower: Int
        let due: ContinuousClock.Instant
        /// Published by now.
        var isSettled = false
    }

    private let rank: Int
    private var expected: [Int]?
    /// This rank's own layers that are not begun, in order.
    private var queue: [Int] = []
    private var loans: [Int: Loan] = [:]
    /// Own layers of the step that others have computed.
    private(set) var takenOver: Set<Int> = []
    /// Number of the last claim of each rank: a claim that comes twice is answered once.
    private var lastClaims: [Int: UInt64] = [:]

    /// Number of this rank's next claim, and the unanswered ones of this step.
    private var number: UInt64 = 1
    private var claims: [UInt64: Int] = [:]
    private var nextClaim: ContinuousClock.Instant?
    private var refusals: Set<Int> = []
    /// What this rank has borrowed and not begun.
    private var granted: [(owner: Int, layers: [Int])] = []

    init(rank: Int) { self.rank = rank }

    mutating func begin(_ plan: StepPlan) {
        expected = plan.expected
        queue = plan.order.filter { plan.owners[$0] == rank }
        (loans, takenOver, claims, nextClaim, refusals, granted) = ([:], [], [:], nil, [], [])
    }

    // MARK: The owner's side

    /// The next own layers to compute, at most so many.
    mutating func next(_ count: Int) -> [Int] {
        defer { queue.removeFirst(min(count, queue.count)) }
        return Array(queue.prefix(count))
    }

    /// Answers a rank's claim: at most `count` layers, none if all that are worth it are begun; nil for a claim that has been
    /// answered.
    mutating func lend(atMost count: Int, to borrower: Int, claim: UInt64, now: ContinuousClock.Instant) -> [Int]? {
        guard claim > lastClaims[borrower, default: 0] else { return nil }
        lastClaims[borrower] = claim
        guard let expected else { return [] }
        var lent: [Int] = []
        while lent.count < count, let place = queue.lastIndex(where: { expected[$0] >= Self.least }) {
            let layer = queue.remove(at: place)
            let limit = Duration.nanoseconds(expected[layer]) * Self.patience.factor + Self.patience.besides
            loans[layer] = Loan(borrower: borrower, due: now + limit)
            lent.append(layer)
        }
        return lent
    }

    /// Whether a lent layer has not been published yet.
    var isOwed: Bool { loans.values.contains { !$0.isSettled } }

    /// Whether a layer was lent to that rank in this step.
    func wasLent(_ layer: Int, to borrower: Int) -> Bool { loans[layer]?.borrower == borrower }

    /// Who was to compute a layer that was lent in this step.
    func borrower(of layer: Int) -> Int? { loans[layer]?.borrower }

    /// Notes that an own layer has been published, whether or not another rank has computed it.
    mutating func settle(_ layer: Int, isTakenOver: Bool) {
        loans[layer]?.isSettled = true
        if isTakenOver { takenOver.insert(layer) }
    }

    /// A lent layer that should have been here by now.
    func overdue(now: ContinuousClock.Instant) -> Int? {
        loans.filter { !$0.value.isSettled && $0.value.due <= now }.keys.min()
    }

    // MARK: The borrower's side

    /// Whom to ask for a layer now, and the number of the claim; nil where there is nothing worth asking for, or an answer is
    /// awaited.
    ///
    /// - Parameters:
    ///   - missing: layers that have not arrived, by owner. One of them is under way.
    ///   - patience: how long an answer is awaited before the next owner is asked.
    mutating func claim(
        missing: [Int: [Int]], patience: Duration, now: ContinuousClock.Instant
    ) -> (owner: Int, number: UInt64)? {
        guard let expected, granted.isEmpty, refusals.count < Self.mostRefusals else { return nil }
        if let nextClaim, now < nextClaim { return nil }
        let asked = refusals.union(claims.values)
        let candidates = missing.filter { owner, layers in
            owner != rank && !asked.contains(owner) && layers.count { expected[$0] >= Self.least } > 1
        }
        func remaining(_ owner: Int) -> Int { (candidates[owner] ?? []).reduce(0) { $0 + expected[$1] } }
        guard let owner = candidates.keys.min(by: { (remaining($1), $0) < (remaining($0), $1) }) else { return nil }
        defer { number += 1 }
        claims[number] = owner
        nextClaim = now + patience
        return (owner, number)
    }

    /// Takes the answer to a claim; false where this rank has made none of this number to that owner, or layers are named
    /// that the owner could not lend.
    mutating func take(_ layers: [Int], from owner: Int, claim: UInt64, owners: [Int]) -> Bool {
        guard claims[claim] == owner, Set(layers).count == layers.count,
            layers.allSatisfy({ owners.indices.contains($0) && owners[$0] == owner })
        else { return false }
        claims[claim] = nil
        nextClaim = nil
        if layers.isEmpty { refusals.insert(owner) } else { granted.append((owner, layers)) }
        return true
    }

    /// The next borrowed layers to compute: those that have not come from their owner meanwhile.
    mutating func nextBorrowed(unless isHere: (_ layer: Int) -> Bool) -> (owner: Int, layers: [Int])? {
        while !granted.isEmpty {
            let (owner, layers) = granted.removeFirst()
            let open = layers.filter { !isHere($0) }
            if !open.isEmpty { return (owner, open) }
        }
        return nil
    }
}
