internal import Collectives
internal import Support
internal import TensorCore

/// Layers that ranks compute for each other: claims, answers and results are messages between two ranks, and results are then
/// published by the layers' owners.
extension ZeroMQExchange {
    /// Does what comes next of the layers that are lent and borrowed, this rank's own ones being begun. Returns whether it has
    /// computed any.
    func takeOver(_ compute: ([Int]) throws -> [Transition]) throws -> Bool {
        try publishResults()
        if let layer = handover.overdue(now: .now) {
            for transition in try compute([layer]) { try publishOwed(transition, isTakenOver: false) }
            return true
        }
        if let (owner, layers) = handover.nextBorrowed(unless: ledger.has) {
            for transition in try compute(layers) { try send(transition, to: owner) }
            return true
        }
        if let (owner, number) = handover.claim(missing: ledger.missing, patience: timing.query, now: .now) {
            var payload: [UInt8] = []
            payload.append(littleEndian: UInt32(Team.threads))
            // Where there is no room the claim stays without an answer.
            _ = try links.ask(owner, header(.claim, number, payload).encoded, payload)
        }
        return false
    }

    /// Publishes what other ranks have computed for this one.
    func publishResults() throws {
        let arrived = results
        results = []
        for transition in arrived { try publishOwed(transition, isTakenOver: true) }
    }

    /// Publishes a layer that was lent, unless the other of the two who could compute it was faster.
    private func publishOwed(_ transition: Transition, isTakenOver: Bool) throws {
        if ledger.has(transition.layer) {
            guard ledger.digest(transition.layer) == sha256(transition.payload) else {
                throw BusError.computedDifferently(
                    step: ledger.step, layer: transition.layer, owner: world.rank,
                    borrower: handover.borrower(of: transition.layer) ?? world.rank)
            }
            statistics.duplicates += 1
            return
        }
        handover.settle(transition.layer, isTakenOver: isTakenOver)
        if isTakenOver { statistics.takenOver += 1 }
        try publish(transition)
    }

    /// To the owner alone; where it has no room it computes the layer itself.
    private func send(_ transition: Transition, to owner: Int) throws {
        guard !ledger.has(transition.layer) else { return }
        let header = FrameHeader(
            .result, attempt: ledger.attempt, owner: world.rank, step: ledger.step, layer: transition.layer,
            codec: transition.codec, payload: transition.payload)
        _ = try links.answer(owner, header.encoded, transition.payload)
    }

    private func header(_ kind: FrameHeader.Kind, _ number: UInt64, _ payload: [UInt8]) -> FrameHeader {
        FrameHeader(
            kind, attempt: ledger.attempt, owner: world.rank, step: ledger.step, sequence: number, payload: payload)
    }

    // MARK: Receiving

    /// Lends layers to a rank that is done with its own.
    func answerClaim(_ claim: FrameHeader, _ payload: [UInt8], of peer: Int) throws {
        guard payload.count == 4, claim.byteCount == 4, sha256(payload) == claim.digest else { return count(.wrongDigest) }
        // Of a step that has ended: the rank that asked has what it was missing by now.
        guard let step = Int(exactly: claim.step), step == ledger.step || step == ledger.step + 1 else { return }
        guard step == ledger.step else {
            earlyClaims[peer] = (claim, payload)
            return
        }
        let wanted = Int(payload.littleEndian(at: 0, UInt32.self))
        guard let lent = handover.lend(atMost: wanted, to: peer, claim: claim.sequence, now: .now) else { return }
        var layers: [UInt8] = []
        for layer in lent { layers.append(littleEndian: UInt32(layer)) }
        // Where there is no room, this rank computes what it has lent once it is due.
        _ = try links.answer(peer, header(.grant, claim.sequence, layers).encoded, layers)
    }

    /// Answers ranks that have asked before this one had begun the step.
    func answerEarlyClaims() throws {
        let claims = earlyClaims
        earlyClaims = [:]
        for (peer, (claim, payload)) in claims { try answerClaim(claim, payload, of: peer) }
    }

    func takeGrant(_ grant: FrameHeader, _ payload: [UInt8], from owner: Int) {
        guard payload.count % 4 == 0, grant.byteCount == UInt64(payload.count), sha256(payload) == grant.digest else {
            return count(.wrongDigest)
        }
        // Of a step that is over: its owner has published everything before it came to this claim.
        if grant.step < UInt64(max(0, ledger.step)) { return }
        guard Int(exactly: grant.step) == ledger.step else { return count(.stale) }
        let layers = stride(from: 0, to: payload.count, by: 4).map { Int(payload.littleEndian(at: $0, UInt32.self)) }
        if !handover.take(layers, from: owner, claim: grant.sequence, owners: ledger.owners) { count(.stale) }
    }

    func takeResult(_ header: FrameHeader, _ payload: [UInt8], from borrower: Int) throws {
        let verdict = try ledger.check(result: header, payload, from: borrower, to: world.rank) {
            handover.wasLent($0, to: borrower)
        }
        switch verdict {
        case .accepted(let transition): results.append(transition)
        case .duplicate: statistics.duplicates += 1
        case .refused(let refusal): count(refusal)
        }
    }
}
