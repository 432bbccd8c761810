internal import Support

/// A layer's new factors, as bytes the bus does not look into.
package struct Transition: Equatable, Sendable {
    package let layer: Int
    /// Which form the payload has; the receiver's affair.
    package let codec: UInt8
    package let payload: [UInt8]

    /// Bytes it takes on the bus.
    package var byteCount: Int { FrameHeader.size + payload.count }

    package init(layer: Int, codec: UInt8, payload: [UInt8]) {
        (self.layer, self.codec, self.payload) = (layer, codec, payload)
    }
}

/// Why a frame was not taken. Training continues; refusals are counted.
package enum Refusal: String, CaseIterable, Sendable {
    /// No valid header: wrong length, magic, version, type or checksum.
    case malformed
    /// Another attempt of the run, or a step beyond the next.
    case stale
    /// A layer that does not exist, or an owner other than the layer's or the sender.
    case wrongOwner
    /// A length other than announced, or longer than the layer can be.
    case wrongSize
    /// The payload does not hash to the digest.
    case wrongDigest
    /// The payload does not decode.
    case undecodable
}

/// What has arrived for the current step and, from faster ranks, for the next: each transition once.
///
/// Pure bookkeeping without clock or sockets. A frame is taken if its attempt, step, layer, owner, length and digest are
/// right and its payload decodes; taken again with the same digest it is ignored; with another the owner is at fault.
/// Order does not matter: a transition is known by its key (step, layer), and stream positions only show what was lost.
struct StepLedger {
    enum Verdict: Equatable { case staged, early, duplicate, refused(Refusal) }

    /// Checks that a payload decodes for its layer.
    typealias Validation = (Transition) throws -> Void

    private struct Entry {
        let transition: Transition
        let digest: Digest
    }
    private struct EarlyKey: Hashable {
        let layer: Int
        let owner: Int
    }

    let payloadLimits: [Int]
    let attempt: UInt32
    private let validate: Validation
    /// The step whose transitions are being collected, or were last.
    private(set) var step: Int
    private(set) var owners: [Int] = []
    private var staged: [Entry?]
    /// Layers of this step that are here, in the order in which they came.
    private(set) var arrived: [Int] = []
    private var early: [EarlyKey: Entry] = [:]
    /// Owners that have said that they published everything of this step; of the next.
    private var ended: Set<Int> = []
    private var earlyEnded: Set<Int> = []

    /// - Parameter firstStep: the step the first ``begin(step:owners:)`` will name.
    init(payloadLimits: [Int], attempt: UInt32, firstStep: Int, validate: @escaping Validation) {
        self.payloadLimits = payloadLimits
        self.attempt = attempt
        self.validate = validate
        step = firstStep - 1
        staged = Array(repeating: nil, count: payloadLimits.count)
    }

    /// Moves on to the next step, taking over what came early; returns the refusals among that.
    mutating func begin(step: Int, owners: [Int]) -> [Refusal] {
        precondition(step == self.step + 1, "step \(step) follows \(self.step)")
        precondition(owners.count == payloadLimits.count, "\(owners.count) owners for \(payloadLimits.count) layers")
        self.step = step
        self.owners = owners
        (ended, earlyEnded) = (earlyEnded, [])
        staged = Array(repeating: nil, count: payloadLimits.count)
        arrived = []
        var refusals: [Refusal] = []
        for (key, entry) in early {
            if owners[key.layer] == key.owner { stage(entry) } else { refusals.append(.wrongOwner) }
        }
        early = [:]
        return refusals
    }

    /// Takes a transition from the rank `sender`, or returns the reason for refusing it.
    mutating func offer(_ header: FrameHeader, _ payload: [UInt8], from sender: Int) throws(BusError) -> Verdict {
        guard header.attempt == attempt else { return .refused(.stale) }
        // Of the steps before, everything is here: a step ends only when all ranks have all of it.
        if header.step < UInt64(max(0, step)), !owners.isEmpty { return .duplicate }
        guard isNear(header.step) else { return .refused(.stale) }
        let layer = Int(header.layer)
        guard layer < payloadLimits.count, header.owner == UInt32(sender) else { return .refused(.wrongOwner) }
        let isEarly = Int(exactly: header.step) != step
        if !isEarly, owners.isEmpty || owners[layer] != sender { return .refused(.wrongOwner) }
        guard header.byteCount == UInt64(payload.count), payload.count <= payloadLimits[layer] else {
            return .refused(.wrongSize)
        }
        guard sha256(payload) == header.digest else { return .refused(.wrongDigest) }
        let key = EarlyKey(layer: layer, owner: sender)
        if let known = isEarly ? early[key] : staged[layer] {
            guard known.digest == header.digest else {
                throw .conflict(step: Int(header.step), layer: layer, owner: sender)
            }
            return .duplicate
        }
        let transition = Transition(layer: layer, codec: header.codec, payload: payload)
        do { try validate(transition) } catch { return .refused(.undecodable) }
        let entry = Entry(transition: transition, digest: header.digest)
        if isEarly { early[key] = entry } else { stage(entry) }
        return isEarly ? .early : .staged
    }

    /// What to make of a transition that a rank has computed for this one, its owner.
    enum ResultVerdict: Equatable { case accepted(Transition), duplicate, refused(Refusal) }

    /// Checks the result of a layer this rank has lent, or has published by now.
    ///
    /// - Parameter wasLent: whether the layer was lent to the sender in this step.
    func check(
        result header: FrameHeader, _ payload: [UInt8], from sender: Int, to rank: Int, wasLent: (Int) -> Bool
    ) throws(BusError) -> ResultVerdict {
        guard header.attempt == attempt, !owners.isEmpty else { return .refused(.stale) }
        if header.step < UInt64(max(0, step)) { return .duplicate }
        guard header.step == UInt64(max(0, step)) else { return .refused(.stale) }
        let layer = Int(header.layer)
        guard layer < payloadLimits.count, header.owner == UInt32(sender), wasLent(layer) else {
            return .refused(.wrongOwner)
        }
        guard header.byteCount == UInt64(payload.count), payload.count <= payloadLimits[layer] else {
            return .refused(.wrongSize)
        }
        guard sha256(payload) == header.digest else { return .refused(.wrongDigest) }
        if let known = staged[layer] {
            guard known.digest == header.digest else {
                throw .computedDifferently(step: step, layer: layer, owner: rank, borrower: sender)
            }
            return .duplicate
        }
        let transition = Transition(layer: layer, codec: header.codec, payload: payload)
        do { try validate(transition) } catch { return .refused(.undecodable) }
        return .accepted(transition)
    }

    /// Takes this rank's own transition.
    mutating func stageOwn(_ transition: Transition, digest: Digest) {
        stage(Entry(transition: transition, digest: digest))
    }

    private mutating func stage(_ entry: Entry) {
        staged[entry.transition.layer] = entry
        arrived.append(entry.transition.layer)
    }

    /// Notes that an owner has published everything of a step.
    mutating func noteEnd(_ header: FrameHeader, from sender: Int) {
        guard header.attempt == attempt, isNear(header.step), header.owner == UInt32(sender) else { return }
        if Int(exactly: header.step) == step { ended.insert(sender) } else { earlyEnded.insert(sender) }
    }

    /// This step or the next. (Before the first step `step` is the one before, which may be -1.)
    private func isNear(_ other: UInt64) -> Bool {
        guard let other = Int(exactly: other) else { return false }
        return (other == step && !owners.isEmpty) || other == step + 1
    }

    func hasEnded(_ owner: Int) -> Bool { ended.contains(owner) }

    /// Layers of this step that have not arrived, by owner.
    var missing: [Int: [Int]] {
        Dictionary(grouping: staged.indices.filter { staged[$0] == nil }) { owners[$0] }
    }

    var isComplete: Bool { arrived.count == staged.count }

    func has(_ layer: Int) -> Bool { staged[layer] != nil }
    func digest(_ layer: Int) -> Digest? { staged[layer]?.digest }

    /// A layer's transition in this step, once it is here.
    func transition(_ layer: Int) -> Transition? { staged[layer]?.transition }

    /// First eight bytes of each layer's digest, for the table of differences.
    var digestPrefixes: [UInt8] { staged.flatMap { Array(($0?.digest ?? Digest(repeating: 0, count: 32)).prefix(8)) } }
}
