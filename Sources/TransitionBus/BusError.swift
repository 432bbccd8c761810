package import Support

/// A fault of the transition bus that ends the run.
package enum BusError: ReportableError, Equatable {
    /// Set-up, a repair, a send or the sync step took too long.
    case timeout(what: String, rank: Int, seconds: Double)
    /// Two valid payloads for one transition: an owner computed twice, differently.
    case conflict(step: Int, layer: Int, owner: Int)
    /// A layer's owner and the rank that had borrowed it have computed different transitions.
    case computedDifferently(step: Int, layer: Int, owner: Int, borrower: Int)
    /// The ranks ended a step in different states.
    case replicasDiffer(step: Int, details: String)
    /// An unlisted key was admitted in the self-test.
    case unlistedKeyAdmitted(rank: Int)
    case malformedKey(String)
    case configurationsDiffer(ranks: [Int])
    case unsuitable(setting: String, rule: String)
    /// Open files that a rank would need, and may have; whether they suffice with relays.
    case tooFewDescriptors(ranks: Int, needed: Int, limit: Int, fitting: Int, relaysHelp: Bool)

    package var exitCode: ExitCode {
        switch self {
        case .timeout: .temporary
        case .conflict, .computedDifferently, .replicasDiffer: .software
        case .unlistedKeyAdmitted: .authentication
        case .malformedKey, .configurationsDiffer, .unsuitable, .tooFewDescriptors: .configuration
        }
    }

    package var description: String {
        switch self {
        case .timeout(let what, let rank, let seconds):
            "rank \(rank) waited \(seconds) s for \(what); restart from the last checkpoint"
        case .conflict(let step, let layer, let owner):
            "rank \(owner) sent two different transitions of layer \(layer) in step \(step); its memory or its code is faulty"
        case .computedDifferently(let step, let layer, let owner, let borrower):
            "ranks \(owner) and \(borrower) have computed different transitions of layer \(layer) in step \(step); the memory "
                + "or the code of one of them is faulty"
        case .replicasDiffer(let step, let details): "the ranks differ after step \(step): \(details)"
        case .unlistedKeyAdmitted(let rank): "rank \(rank) admits unlisted keys to the bus: libzmq's ZAP does not work here"
        case .malformedKey(let key): "`\(key)` is not a CURVE public key: 40 characters of Z85 are expected"
        case .configurationsDiffer(let ranks):
            "ranks \(ranks.map(String.init).joined(separator: ", ")) run another configuration than rank 0: give all the same"
        case .unsuitable(let setting, let rule): "\(setting): \(rule)"
        case .tooFewDescriptors(let ranks, let needed, let limit, let fitting, let relaysHelp):
            "the transition bus of \(ranks) ranks takes \(needed) open files a rank, and \(limit) are allowed: raise the limit "
                + "(ulimit -n \(needed)), use at most \(counted(fitting, "rank")), or set "
                + (relaysHelp ? "bus.topology=relay" : "bus.transport=mpi")
        }
    }
}
