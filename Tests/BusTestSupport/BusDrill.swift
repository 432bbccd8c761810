package import Collectives
internal import Glibc
package import Support
internal import TensorCore
package import TransitionBus

/// A run of steps over the bus with made-up transitions, whose right contents every rank can work out for itself.
package struct BusDrill: Sendable {
    package struct Outcome: Sendable {
        /// Of everything applied, in order: equal on all ranks, and for all transports.
        package var digest: Digest
        package var applied = 0
        package var statistics: BusStatistics
    }

    package struct WrongTransition: Error {
        let step: Int
        let layer: Int
    }

    package var layers: Int
    package var steps: Int
    package var payloadBytes: Int
    package var transport: BusTransport
    /// Probability of each of: dropped, doubled, reordered, corrupted.
    package var faults = 0.0
    package var seed: UInt64 = 11
    package var topology = BusTopology.Choice.auto
    package var ranksPerRelay: Int?
    /// What a layer takes each rank, where ranks are to compute for each other.
    package var milliseconds: [Int] = []

    package init(layers: Int, steps: Int, payloadBytes: Int = 200, transport: BusTransport, faults: Double = 0) {
        (self.layers, self.steps, self.payloadBytes) = (layers, steps, payloadBytes)
        (self.transport, self.faults) = (transport, faults)
    }

    package func configuration(rank: Int) -> BusConfiguration {
        var configuration = BusConfiguration(payloadLimits: Array(repeating: payloadBytes, count: layers)) { transition in
            if transition.codec != UInt8(truncatingIfNeeded: transition.layer) {
                throw WrongTransition(step: 0, layer: transition.layer)
            }
        }
        configuration.route.transport = transport
        configuration.route.topology = topology
        configuration.route.ranksPerRelay = ranksPerRelay
        configuration.timing.setup = .seconds(60)
        configuration.timing.silence = .seconds(60)
        // Shorter waits than in earnest, so that 10,000 transitions take seconds; more tries, as the machine may be busy.
        configuration.timing.repairTries = 1000
        configuration.timing.query = .milliseconds(20)
        configuration.timing.queryLimit = .milliseconds(200)
        if faults > 0 {
            configuration.faults = FaultInjection(
                drop: faults, double: faults, reorder: faults, corrupt: faults, seed: seed, rank: rank)
        }
        return configuration
    }

    /// The contents of a transition: bytes drawn from (step, layer), of a length that varies.
    package func transition(step: Int, layer: Int) -> Transition {
        var random = RandomStream(seed: seed, stream: UInt64(step * layers + layer))
        let length = Int.random(in: 0...payloadBytes, using: &random)
        let payload = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
        return Transition(layer: layer, codec: UInt8(truncatingIfNeeded: layer), payload: payload)
    }

    package func run(_ world: some Communicator, betweenSteps: ((Int) throws -> Void)? = nil) throws -> Outcome {
        try run(on: configuration(rank: world.rank).open(world, MessagingContext()), world, betweenSteps: betweenSteps)
    }

    package func run(
        on bus: any TransitionExchange, _ world: some Communicator, betweenSteps: ((Int) throws -> Void)? = nil
    ) throws -> Outcome {
        var outcome = Outcome(digest: sha256([]), statistics: bus.statistics)
        for step in 0..<steps {
            let owners = (0..<layers).map { ($0 + step) % world.size }
            let isTimed = milliseconds.count == world.size
            let expected = isTimed ? [Int](repeating: 10_000_000, count: layers) : nil
            try bus.beginStep(step, StepPlan(owners: owners, expected: expected))
            func compute(_ layer: Int) throws -> Transition {
                for _ in 0..<(isTimed ? milliseconds[world.rank] : 0) {
                    usleep(1000)
                    try bus.poll()
                }
                return transition(step: step, layer: layer)
            }
            while let layer = bus.next(1).first {
                try bus.publish(compute(layer))
                if layer % 3 == 0 { try bus.poll() }
            }
            var all: [Transition] = []
            try bus.collect {
                all.append($0)
            } computing: {
                try $0.map(compute)
            }
            for received in all.sorted(by: { $0.layer < $1.layer }) {
                guard received == transition(step: step, layer: received.layer) else {
                    throw WrongTransition(step: step, layer: received.layer)
                }
                outcome.digest = sha256(outcome.digest + [received.codec] + received.payload)
                outcome.applied += 1
            }
            try bus.finishStep(stateDigest: outcome.digest)
            try betweenSteps?(step)
        }
        outcome.statistics = bus.statistics
        return outcome
    }
}
