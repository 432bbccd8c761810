import BusTestSupport
import Collectives
import Glibc
import Support
import Synchronization
import Testing

@testable import TransitionBus

/// The end of the last step, which ranks leave one after the other.
@Suite struct EndingTests {
    final class Stage: Sendable {
        let isWaiting = Atomic<Bool>(false)
        let isAlone = Atomic<Bool>(false)
    }

    /// The relay of both ranks ends with rank 0, while rank 1 does not know yet that the step has ended.
    @Test func `a rank that ends the last step after the rank with its relay ends it, too`() async throws {
        var drill = BusDrill(layers: 2, steps: 1, transport: .ipc)
        (drill.topology, drill.ranksPerRelay) = (.relay, 2)
        let stage = Stage()
        @Sendable func wait(for flag: borrowing Atomic<Bool>) {
            let deadline = ContinuousClock.now + .seconds(20)
            while !flag.load(ordering: .acquiring), ContinuousClock.now < deadline { usleep(1000) }
        }
        let outcomes = await ThreadWorld.run(size: 2) { [drill] world in
            var configuration = drill.configuration(rank: world.rank)
            configuration.timing.send = .seconds(3)
            var bus: ZeroMQExchange? = try ZeroMQExchange(world, configuration, MessagingContext())
            try bus?.beginStep(0, StepPlan(owners: [0, 1]))
            try bus?.publish(drill.transition(step: 0, layer: world.rank))
            try bus?.collect({ _ in }, computing: { _ in [] })
            if world.rank == 0 {
                wait(for: stage.isWaiting)
            } else {
                bus?.whileWaiting = {
                    stage.isWaiting.store(true, ordering: .releasing)
                    wait(for: stage.isAlone)
                    // Until it is time to say again what this rank has ended.
                    usleep(100_000)
                }
            }
            try bus?.finishStep(stateDigest: sha256([]))
            bus = nil
            if world.rank == 0 { stage.isAlone.store(true, ordering: .releasing) }
            return world.rank
        }
        for outcome in outcomes { _ = try outcome.get() }
    }
}
